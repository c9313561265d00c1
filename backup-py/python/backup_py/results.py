"""What calls return: frozen, with a readable ``repr``, as a table in notebooks, and with ``to_dict()``."""

from backup_py._document import Result, Results
from backup_py.backups import Backup, Finding, Payload, Proof, SmokeAnswer, Source, Suspicion, Table
from backup_py.outcomes import Copied, Decision, Extracted, Failure, Mended, Mirrored
from backup_py.outcomes import Plan, Pruned, Restored, Taken
from backup_py.reports import Difference, GuardReport, TableChange
from backup_py.verdicts import (
    Checked,
    CheckItem,
    Drilled,
    Estimate,
    Missed,
    Shown,
    Status,
    Verified,
)

__all__ = [
    "Backup",
    "CheckItem",
    "Checked",
    "Copied",
    "Decision",
    "Difference",
    "Drilled",
    "Estimate",
    "Extracted",
    "Failure",
    "Finding",
    "GuardReport",
    "Mended",
    "Mirrored",
    "Missed",
    "Payload",
    "Plan",
    "Proof",
    "Pruned",
    "Restored",
    "Result",
    "Results",
    "Shown",
    "SmokeAnswer",
    "Source",
    "Status",
    "Suspicion",
    "Table",
    "TableChange",
    "Taken",
    "Verified",
]
