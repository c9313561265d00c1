from collections.abc import Sequence
from os import PathLike
from typing import Final

__all__ = ["__version__", "main", "worker"]

__version__: Final[str]

def main(arguments: Sequence[str | PathLike[str]]) -> int: ...
def worker() -> None: ...
