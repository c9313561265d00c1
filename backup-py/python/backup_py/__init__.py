"""Proven backups and safe restores of databases.

This package has no content yet: it knows its version and can neither take nor restore a backup.
"""

from backup_py._native import __version__

__all__ = ["__version__"]
