"""What a sweep is pointed at: one model at one pinned revision, or why it could not be opened."""

from __future__ import annotations

from dataclasses import dataclass, field

from zoo.errors import ZooError
from zoo.io.store import Location, Store


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a listed model could not even be opened."""

    cause: str
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one pinned revision."""

    model_id: str
    revision: str
    """40 hex digits: commit sha or content fingerprint; empty when `failure` came first."""
    location: Location | None
    """Where its files are; None when `failure` came first."""
    source: str
    """The source it came from, for people."""
    step: int | None = None
    """Training step, when the source has a `step_pattern` or step-like revisions."""
    family: str | None = None
    """As the spec says; None: from the config."""
    metadata: dict[str, object] = field(default_factory=dict)
    """Hub metadata, by `models` column."""
    origin: str = ""
    """What may share the id: the folder of a trajectory, the path of a model, the Hub itself."""
    nbytes: int = 0
    """Bytes of all files, for ordering and splitting; 0 when unknown."""
    num_params: int | None = None
    """As the Hub's listing says; None when it does not."""
    failure: Failure | None = None
    base_revision: str = ""
    """Of the base model that an adapter is read with; empty when there is none."""

    def open(self) -> Store:
        """A store of its files; see `Location.open`. Only for a target without a `failure`."""
        if self.location is None:
            raise ValueError(f"{self.model_id}: got a target that has failed; wanted a location")
        return self.location.open()


def failure_of(error: Exception) -> Failure:
    """A failure row's core from an exception; anything that is no ZooError counts as bad data."""
    cause = error.cause if isinstance(error, ZooError) else "data"
    return Failure(cause, type(error).__name__, str(error))
