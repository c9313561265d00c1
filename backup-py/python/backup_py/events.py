"""What a call tells while it works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["Event", "Progress"]

LABELS = {
    "capture": "backing up",
    "checksum": "re-reading",
    "decode": "decoding",
    "check": "checking",
    "load": "loading",
    "swap": "swapping",
    "copy": "copying",
    "count": "counting",
}

SENTENCES = ("told", "taken", "verified", "copied", "restored", "removed")
"""Events whose text says of itself what happened."""

LEVELS = {"waiting": 20, "warning": 30, "found": 30, "alarm": 40}
"""Of the events that somebody should know, as :mod:`logging` counts."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; ``str()`` says it in a line.

    >>> print(Event("progress", step="capture", done=50_000_000, total=200_000_000))
    backing up: 50.0 MB of 200.0 MB, 25 %
    """

    kind: str
    """``began``, ``progress``, ``ended``, ``waiting``, ``warning``, ``alarm``, ``found``, ``taken``, ``verified``,
    ``copied``, ``restored``, ``removed``, ``told`` or ``guarding``; others may come."""
    step: str | None = None
    """Of the first three: ``capture``, ``checksum``, ``decode``, ``check``, ``load``, ``swap``, ``copy``, ``count``."""
    done: int | None = None
    """Bytes of the step that are done."""
    total: int | None = None
    """Bytes of the step, where they are known."""
    text: str | None = None
    """What is told, for people."""
    id: str | None = None
    """The backup that it is about, or the guard that began."""

    @property
    def fraction(self) -> float | None:
        """How much of the step is done, between 0 and 1, where that is known."""
        if self.done is None or not self.total:
            return None
        return min(self.done / self.total, 1.0)

    def __str__(self) -> str:
        if self.step is None:
            return str(self.text) if self.kind in SENTENCES else f"{self.kind}: {self.text}"
        label = LABELS.get(self.step, self.step)
        match self.kind:
            case "progress" if self.fraction is not None:
                return f"{label}: {size(self.done)} of {size(self.total)}, {self.fraction:.0%}".replace("%", " %")
            case "progress":
                return f"{label}: {size(self.done)}"
            case "began" if self.total:
                return f"{label}: {size(self.total)}"
            case "ended":
                return f"{label}: done"
            case _:
                return label


Progress: TypeAlias = Callable[[Event], object]
"""Hears the events, in the thread of the call. What it raises stops the call, and is raised by it."""


def event_of(document: Mapping[str, Any], totals: dict[str, int]) -> Event:
    """The event that a line of the command tells; ``totals`` remembers the sizes of steps."""
    kind, step, total = document["event"], document.get("step"), document.get("total")
    if step is not None and kind == "began":
        totals[step] = total or 0
    text = document.get("text")
    if kind == "found":
        text = f"{document['check']}: {document['object']}: {document['what']}"
    elif kind == "taken":
        text = f"{document['id']} taken" + ("" if document["good"] else ", suspect")
    elif kind == "verified":
        text = f"{document['id']} verified: {document['level']}, {'ok' if document['ok'] else 'damaged'}"
    elif kind == "copied":
        text = f"{document['id']} copied to {document['mirror']}"
    elif kind == "restored":
        text = f"{document['id']} restored into {document['target']}"
    elif kind == "removed":
        text = f"{document['id']} removed: {'; '.join(document['reasons'])}"
    elif kind == "error":
        text = document["error"]["message"]
    elif kind == "guarding":
        text = f"guarded by {document['backup']}"
    total = total or (totals.get(step) or None if step is not None else None)
    return Event(kind, step, document.get("done"), total, text, document.get("id"))


def log(event: Event) -> None:
    """Where nobody listens, what somebody should know goes to the logger ``backup_py``."""
    level = LEVELS.get(event.kind)
    if level is not None:
        import logging

        logging.getLogger("backup_py").log(level, "%s", event.text)


def size(count: int | None) -> str:
    """Bytes as people read them.

    >>> size(999), size(40_960_000)
    ('999 B', '41.0 MB')
    """
    number = float(count or 0)
    if number < 1000:
        return f"{count or 0} B"
    for unit in ("kB", "MB", "GB", "TB"):
        number /= 1000
        if number < 999.95:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} PB"
