"""The command ``backup`` that ``pip install`` brings along."""

import sys

from backup_py import _native

__all__ = ["main"]


def main() -> int:
    """Runs the command with the arguments of this process; returns its exit code."""
    return _native.main(sys.argv)
