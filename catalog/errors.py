"""Every exception the catalog raises on purpose, as one tree.

    CatalogError
    ├── SchemaError           a row that does not fit its table's schema             cause: bug
    ├── NotACatalogError      the folder holds no catalog, or one of a newer version cause: use
    ├── QueryError            a question (board, SQL condition) that cannot be asked cause: use
    ├── LockedError           another process holds the lock                         cause: use
    ├── TornError             a file under its final name that is not whole          cause: data
    └── StorageError          the folder or bucket refused a read or a write         cause: infra
        ├── DiskFullError        no space, quota or file-size limit reached          cause: resource
        └── LeaseLostError       another process took our lease on a bucket          cause: infra

`cause` is the value stored in the column `failures.cause`; the retry policy is decided by it alone.
"""

from __future__ import annotations

from typing import ClassVar


class CatalogError(Exception):
    """Base of the tree. The message says what we got, what we wanted and what to do."""

    cause: ClassVar[str] = "bug"


class SchemaError(CatalogError):
    """A row with an unknown, missing, mistyped or non-finite column; nothing was written."""

    cause = "bug"


class NotACatalogError(CatalogError):
    """The folder holds no catalog, or one written by a newer version of the schema."""

    cause = "use"


class QueryError(CatalogError):
    """A board that does not exist or an SQL condition DuckDB does not understand."""

    cause = "use"


class LockedError(CatalogError):
    """Another process runs the same sweep, or compacts, this very catalog."""

    cause = "use"


class TornError(CatalogError):
    """A file under its final name that is not a whole Parquet file: not written by us."""

    cause = "data"


class StorageError(CatalogError):
    """The folder or bucket refused a read or a write."""

    cause = "infra"


class DiskFullError(StorageError):
    """No space left, quota exceeded, or the process's file-size limit reached."""

    cause = "resource"


class LeaseLostError(StorageError):
    """Another process took the lease on a bucket over, as this one gave no sign of life; nothing more
    may be written. The same command goes on later."""

    cause = "infra"
