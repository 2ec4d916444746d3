"""`zoo check CATALOG`"""

from __future__ import annotations

from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.typed import Place


def check(
    catalog: Place, *, format: Format = "table", shown: Shown = AS_USUAL, quiet: bool = False
) -> int:
    """Audit a catalog: torn, orphan, duplicate or schema-breaking files; numbers null without a reason.

    Exit codes: 0 nothing wrong (notes may be printed), 1 errors found.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    from catalog.care.check import check as run_check
    from catalog.care.check import findings_table
    from jobs.screen.output import print_table
    from jobs.screen.progress import Progress

    findings = run_check(catalog)
    print_table(findings_table(findings), format=format, quiet=quiet, shown=shown)
    errors = sum(finding.severity == "error" for finding in findings)
    Progress(quiet=quiet).say(f"{errors} errors, {len(findings) - errors} notes")
    return 1 if errors else 0
