"""The tables of a sweep spec, as frozen, validated values.

Knows nothing of files, catalogs, checkpoints or runners. Defaults of the numbers live in `zoo.options`;
defaults of the run live here.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from zoo.options import (
    AdapterMode,
    AnalysisOptions,
    FusedMode,
    LayerSelection,
    Metrics,
    ShuffleMode,
)

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?\s*(?:[KMGT]I?)?)B?\s*", re.IGNORECASE)


def _size_text(value: object) -> object:
    """A size as pydantic reads it, which stops at what it does not know and takes 1.2.3GB for 1."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    size = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if size is None:
        raise ValueError(f"got {value!r}; wanted a size such as 4GB or 512MiB")
    return f"{size[1]}B"


Size = Annotated[ByteSize, BeforeValidator(_size_text), Field(ge=1), AfterValidator(int)]
"""Bytes: a whole number, or text with a unit."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SweepTable(_Table):
    """`[sweep]`"""

    name: Annotated[str, Field(min_length=1, max_length=128)] = "sweep"
    """Names the sweep in the catalog; a nightly keeps its name."""
    out: str | None = None
    """Catalog folder or fsspec URL; `--out` wins."""


class Query(_Table):
    """`query = {...}` of a source: a Hub listing."""

    author: str | None = None
    search: str | None = None
    tags: tuple[str, ...] = ()
    pipeline: str | None = None
    sort: Literal["downloads", "likes", "last_modified", "created_at", "trending_score"] | None = (
        None
    )
    limit: Annotated[int, Field(ge=1)] | None = None
    min_params: Annotated[int, Field(ge=0)] | None = None
    max_params: Annotated[int, Field(ge=0)] | None = None

    @field_validator("tags", mode="before")
    @classmethod
    def _tags(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("min_params", "max_params", mode="before")
    @classmethod
    def _count(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMBT]?)\s*", value, re.IGNORECASE)
        if match is None:
            raise ValueError(
                f"got {value!r}; wanted a number of parameters such as 8B, 350M or 7000000"
            )
        return int(float(match[1]) * _UNITS[match[2].upper()])


SOURCE_KEYS = ("hub", "query", "path")
"""The keys of `[[source]]` that name models: exactly one stands in each. `jobs.sources.registry` says which
module lists what stands there."""


class Source(_Table):
    """`[[source]]`: exactly one of SOURCE_KEYS."""

    hub: str | None = None
    revision: str = "main"
    revisions: str | None = None
    query: Query | None = None
    path: str | None = None
    step_pattern: str | None = None
    name: Annotated[str, Field(min_length=1, max_length=96)] | None = None
    family: str | None = None
    endpoint: str | None = None
    base: Annotated[str, Field(min_length=1)] | None = None
    """Base model of adapters, or of fine-tunes that are compared with it: a folder, or a Hub id with
    perhaps `@revision`."""

    @field_validator("step_pattern")
    @classmethod
    def _pattern(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"got {value!r}, not a regular expression ({error})") from error
        if groups != 1:
            raise ValueError(
                f"got {value!r} with {groups} groups; wanted one group around the step, like 'step(\\d+)'"
            )
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        given = [key for key in SOURCE_KEYS if getattr(self, key) is not None]
        if len(given) != 1:
            got = " and ".join(given) if given else "none of them"
            raise ValueError(f"got {got}; wanted exactly one of {', '.join(SOURCE_KEYS)}")
        if self.path is not None and (self.revisions is not None or self.revision != "main"):
            raise ValueError("got path with revision(s); wanted these only beside hub")
        if self.query is not None and (self.revisions is not None or self.step_pattern is not None):
            raise ValueError(
                "got query with revisions or step_pattern; wanted these only beside hub or path"
            )
        return self


class LayersTable(_Table):
    """`[layers]`"""

    include: tuple[str, ...] = LayerSelection().include
    exclude: tuple[str, ...] = LayerSelection().exclude
    min_evals: Annotated[int, Field(ge=1)] = LayerSelection().min_evals
    fused: FusedMode = LayerSelection().fused
    experts: Annotated[str, Field(pattern=r"^(all|sample:[1-9][0-9]*)$")] = LayerSelection().experts
    metrics: Metrics = AnalysisOptions().metrics
    adapters: AdapterMode = LayerSelection().adapters
    deltas: bool = LayerSelection().deltas

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _globs(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _one_base(self) -> LayersTable:
        if self.deltas and self.adapters != "delta":
            raise ValueError(
                f"got deltas with adapters = {self.adapters!r}; wanted adapters = 'delta', whose rows are "
                "what an adapter changes"
            )
        return self


class TrapsTable(_Table):
    """`[traps]`"""

    shuffle: ShuffleMode = AnalysisOptions().shuffle
    replicates: Literal["auto"] | Annotated[int, Field(ge=1, le=1000)] = (
        AnalysisOptions().replicates
    )
    seed: Annotated[int, Field(ge=0)] = AnalysisOptions().seed
    level: Annotated[float, Field(gt=0, lt=0.5)] = AnalysisOptions().level
    modes: bool = AnalysisOptions().modes
    incumbent: bool = AnalysisOptions().incumbent


class TailTable(_Table):
    """`[tail]`: optional fits beyond the power law."""

    farms: bool = AnalysisOptions().farms
    alternatives: bool = AnalysisOptions().alternatives
    bootstrap: Annotated[int, Field(ge=0, le=100_000)] = AnalysisOptions().bootstrap
    clip_fingers: bool = AnalysisOptions().clip_fingers


class ProbesTable(_Table):
    """`[probes]`: after a sweep, random inputs through the networks of its models with traps."""

    enabled: bool = False
    diagnostics: bool = False
    num_probes: Annotated[int, Field(ge=2)] = 1024
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_traps_per_layer: Annotated[int, Field(ge=1)] = 4
    position: Literal["last", "all"] = "last"
    length: Annotated[int, Field(ge=1)] | None = None
    budget_s: Annotated[float, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    factory: str | None = None
    data: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    memory: Size | None = None


class ClassTable(_Table):
    """`[run.classes.NAME]`: workers of another size, on Ray."""

    workers: Annotated[int, Field(ge=1)] | None = None
    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0.0
    memory: Size
    min_cost_s: Annotated[float, Field(ge=0)] = 5.0
    """With a GPU: seconds of one core from which on a task goes to it."""


class RunTable(_Table):
    """`[run]`"""

    runner: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0.0
    memory: Size | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    max_bytes: Size | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    wait_s: Annotated[float, Field(ge=0)] = 600.0
    """Seconds without any worker after which a sweep on a cluster ends."""
    classes: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")], ClassTable] = {}

    @field_validator("classes")
    @classmethod
    def _not_the_first(cls, value: dict[str, ClassTable]) -> dict[str, ClassTable]:
        if "default" in value:
            raise ValueError(
                "got a class named default, which [run] itself describes; wanted another name"
            )
        return value


class Spec(_Table):
    """A whole sweep spec."""

    sweep: SweepTable = SweepTable()
    source: Annotated[tuple[Source, ...], Field(min_length=1)]
    layers: LayersTable = LayersTable()
    traps: TrapsTable = TrapsTable()
    tail: TailTable = TailTable()
    probes: ProbesTable = ProbesTable()
    run: RunTable = RunTable()

    @field_validator("source", mode="before")
    @classmethod
    def _sources(cls, value: object) -> object:
        if isinstance(value, dict):
            raise ValueError("got one [source] table; wanted [[source]], with double brackets")
        return tuple(value) if isinstance(value, list) else value

    @property
    def options(self) -> AnalysisOptions:
        """The measuring options this spec asks for."""
        traps, tail = self.traps, self.tail
        return AnalysisOptions(
            metrics=self.layers.metrics,
            shuffle=traps.shuffle,
            replicates=traps.replicates,
            seed=traps.seed,
            level=traps.level,
            modes=traps.modes,
            incumbent=traps.incumbent,
            farms=tail.farms,
            alternatives=tail.alternatives,
            bootstrap=tail.bootstrap,
            clip_fingers=tail.clip_fingers,
            device=self.run.device,
        )

    @property
    def selection(self) -> LayerSelection:
        """Which tensors become layers."""
        table = self.layers
        return LayerSelection(
            table.include,
            table.exclude,
            table.min_evals,
            table.fused,
            table.experts,
            table.adapters,
            table.deltas,
        )
