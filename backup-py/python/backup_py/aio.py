"""The asynchronous twins: the same calls, awaited."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from backup_py._call import Stop, stopping

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

__all__ = ["in_thread", "twin"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def twin(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """The asynchronous twin of a method.

    The event loop goes on meanwhile, and runs the ``progress`` callback. When the task is cancelled, so is the work:
    the twin ends when that has cleaned up.
    """

    @wraps(method)
    async def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        import asyncio

        progress = kwargs.get("progress")
        if progress is not None:
            kwargs["progress"] = in_loop(asyncio.get_running_loop(), progress)  # type: ignore[arg-type]
        return await in_thread(lambda: method(self, *args, **kwargs))

    run.__name__ = run.__qualname__ = f"{method.__name__}_async"
    run.__doc__ = f"The asynchronous twin of :meth:`{method.__name__}`."
    return run


async def in_thread(work: Callable[[], R]) -> R:
    """Does work on a thread of its own, and stops its calls when the task is cancelled."""
    # Only programs that await need these, and they are large.
    import asyncio
    from concurrent.futures import Future

    stop, done = Stop(), Future[R]()
    context = contextvars.copy_context()
    context.run(stopping.set, stop)
    done.set_running_or_notify_cancel()
    threading.Thread(target=settle, args=(done, context, work), name="backup", daemon=True).start()
    waiting = asyncio.wrap_future(done)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        stop.ask()
        # Not to be cancelled again: what is not cleaned up now stays.
        await asyncio.wait([waiting])
        waiting.exception()
        raise


def settle(done: Future[R], context: contextvars.Context, work: Callable[[], R]) -> None:
    """Does the work and says how it went."""
    try:
        result = context.run(work)
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(result)


def in_loop(loop: AbstractEventLoop, progress: Callable[[Any], object]) -> Callable[[Any], object]:
    """A callback that runs in the event loop, and whose exceptions reach the thread."""
    import asyncio

    async def hear(event: Any) -> None:
        progress(event)

    return lambda event: asyncio.run_coroutine_threadsafe(hear(event), loop).result()
