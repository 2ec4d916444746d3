"""Every exception the project raises on purpose, as one tree.

    ZooError
    ├── UseError                 the caller asked for something impossible (exit 2)
    │   └── ArgumentError           a formula was called with values it has no meaning for
    ├── CheckpointError          a checkpoint cannot be read as it stands          cause: data
    │   ├── HeaderError             header bytes that are not a valid header
    │   ├── TruncatedError          fewer bytes than the header promises
    │   ├── MissingShardError       the index names a file that is not there
    │   ├── DecodeError             a quantised tensor that cannot be decoded
    │   └── UnsafeError             a name, link or pickle that must not be followed
    ├── SourceError              a source cannot be listed or reached
    │   ├── NotFoundError           no such repo, revision or file                 cause: hub_permanent
    │   │   └── MissingPathError       no such folder or file on this machine          cause: data
    │   ├── GatedError              access must be asked for first                 cause: hub_permanent
    │   └── TransientError          429, 5xx, stall, broken connection             cause: hub_transient
    │       └── ChangedError           the file changed while it was being read
    │           └── StaleListingError     files are not those that were listed    cause: changed
    ├── DeviceLostError          the accelerator of this worker answers no more    cause: infra
    └── ResourceError            not enough memory for this layer on this worker   cause: resource

`cause` is the value stored in the column `failures.cause`; the retry policy is decided by it alone.
"""

from __future__ import annotations

from typing import ClassVar


class ZooError(Exception):
    """Base of the tree. The message says what we got, what we wanted and what to do."""

    cause: ClassVar[str] = "bug"


class UseError(ZooError):
    """The caller asked for something impossible; nothing was started."""

    cause = "use"


class ArgumentError(UseError, ValueError):
    """A formula was called with values it has no meaning for: NaN, a wrong shape, a wrong range.

    Also a ValueError, which is what the formulas of `zoo.spectral` are expected to raise.
    """


class CheckpointError(ZooError):
    """A checkpoint cannot be read as it stands; trying again gives the same."""

    cause = "data"


class HeaderError(CheckpointError):
    """Header bytes that are not a valid safetensors header."""


class TruncatedError(CheckpointError):
    """A file holds fewer bytes than its header promises."""


class MissingShardError(CheckpointError):
    """The index names a shard that is not in the folder."""


class DecodeError(CheckpointError):
    """A quantised tensor cannot be decoded: a scale is missing, renamed or of the wrong shape."""


class UnsafeError(CheckpointError):
    """A file name, link or pickle that must not be followed."""


class SourceError(ZooError):
    """A source cannot be listed or reached."""

    cause = "hub_permanent"


class NotFoundError(SourceError):
    """No such repository, revision or file."""


class MissingPathError(NotFoundError):
    """No such folder or file on this machine; nobody else is to blame, so the cause is `data`."""

    cause = "data"


class GatedError(SourceError):
    """The repository is gated or private and the token (if any) does not open it."""


class TransientError(SourceError):
    """A fault that passes by itself: rate limit, server error, stall, broken connection."""

    cause = "hub_transient"

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        """`wait_s`: seconds after which the server asks to be asked again; None: it does not say."""
        super().__init__(message)
        self.wait_s = wait_s


class ChangedError(TransientError):
    """The file changed while it was being read; the model has to start again."""


class StaleListingError(ChangedError):
    """The files of a model are not those that were listed: its revision has to be found anew."""

    cause = "changed"


class ResourceError(ZooError):
    """Not enough memory for this layer on this worker; a bigger one may manage."""

    cause = "resource"


class DeviceLostError(ZooError):
    """The accelerator of this worker answers no more: the worker ends, and another one takes its task."""

    cause = "infra"
