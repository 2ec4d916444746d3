"""What a sweep is pointed at: one model at one pinned revision, or why it could not be opened."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from zoo.errors import ZooError
from zoo.io.file_names import shown
from zoo.io.store import Location, Store, reading


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a listed model could not even be opened."""

    cause: str
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a target was listed. Three facts: none can be read off another."""

    kind: str = ""
    """Name of the kind of source: see `jobs.sources.registry`."""
    path: str = ""
    """Where this one revision lies: an absolute path, a URL, or `repository@commit`."""
    identity: str = ""
    """What all revisions of one model share, so that two models under one id can be told: the path
    of a model, the folder of a trajectory, a repository, on the Hub and in its cache alike."""

    def is_same_model(self, other: Origin) -> bool:
        """True when both may go by one model id."""
        return self.identity == other.identity


@dataclass(frozen=True, slots=True)
class HubMetadata:
    """What a Hub says of a repository; None what it does not say."""

    author: str | None = None
    library: str | None = None
    pipeline_tag: str | None = None
    architecture: str | None = None
    licence: str | None = None
    downloads: int | None = None
    """Downloads of the last 30 days."""
    likes: int | None = None
    base_model: str | None = None
    last_modified: datetime | None = None
    base_models: tuple[str, ...] = ()
    """All that the card names."""


@dataclass(frozen=True, slots=True)
class Target:
    """One model at one pinned revision."""

    model_id: str
    revision: str
    """40 hex digits: commit sha or content fingerprint; a stand-in when `failure` came first."""
    location: Location | None
    """Where its files are, of a model with its base those of both; None when `failure` came first."""
    source: str
    """The source it came from, for people."""
    step: int | None = None
    """Training step, when the source has a `step_pattern` or step-like revisions."""
    family: str | None = None
    """Family of architectures that the spec names; None: it is taken from the config."""
    metadata: HubMetadata = HubMetadata()
    """Empty for what lies in folders."""
    origin: Origin = Origin()
    nbytes: int = 0
    """Bytes of all files, for ordering and splitting; 0 when unknown."""
    num_params: int | None = None
    """Parameters by the Hub's listing; None when it does not tell."""
    failure: Failure | None = None
    named_base: str | None = None
    """Model id of its base, as an adapter's own settings name it; None when they were not read."""
    base: Target | None = None
    """The base model that an adapter is read with, or that a fine-tune is compared with."""

    @property
    def base_revision(self) -> str:
        """Revision of that base model; empty when there is none."""
        return "" if self.base is None else self.base.revision

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where the model came from, and where its base did if it has one."""
        return (self.origin,) if self.base is None else (self.origin, *self.base.origins)

    def reading(self) -> AbstractContextManager[Store]:
        """A store of its files while in the `with`: see `zoo.io.store.reading`. Only without `failure`."""
        if self.location is None:
            raise ValueError(f"{self.model_id}: got a target that has failed; wanted a location")
        return reading(self.location)


def failure_of(error: Exception) -> Failure:
    """A failure row's core from an exception; anything that is no ZooError counts as bad data."""
    cause = error.cause if isinstance(error, ZooError) else "data"
    return Failure(cause, type(error).__name__, shown(str(error)))
