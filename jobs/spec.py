"""The sweep spec: TOML text -> a frozen, validated `Spec`. Parsing is validation.

Knows nothing of catalogs, checkpoints or runners; relative paths are resolved against the spec's folder here
and nowhere else. Defaults of the numbers live in `zoo.options`; defaults of the run live here.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jobs.errors import SpecError
from zoo.options import (
    AdapterMode,
    AnalysisOptions,
    FusedMode,
    LayerSelection,
    Metrics,
    ShuffleMode,
)

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SIZES = {
    "": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}


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


class Source(_Table):
    """`[[source]]`: exactly one of `hub`, `query`, `path`."""

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
    """Base model of adapters: a folder, or a Hub id with perhaps `@revision`."""

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
        kinds = [kind for kind in ("hub", "query", "path") if getattr(self, kind) is not None]
        if len(kinds) != 1:
            got = " and ".join(kinds) if kinds else "none of them"
            raise ValueError(f"got {got}; wanted exactly one of hub, query, path")
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

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _globs(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value


class TrapsTable(_Table):
    """`[traps]`"""

    shuffle: ShuffleMode = AnalysisOptions().shuffle
    replicates: Annotated[int, Field(ge=1, le=1000)] | None = AnalysisOptions().replicates
    seed: Annotated[int, Field(ge=0)] = AnalysisOptions().seed
    level: Annotated[float, Field(gt=0, lt=0.5)] = AnalysisOptions().level
    modes: bool = AnalysisOptions().trap_modes
    incumbent: bool = AnalysisOptions().incumbent


class TailTable(_Table):
    """`[tail]`: optional fits beyond the power law."""

    farms: bool = AnalysisOptions().farms
    alternatives: bool = AnalysisOptions().tail_models
    bootstrap: Annotated[int, Field(ge=0, le=100_000)] = AnalysisOptions().bootstrap
    clip_fingers: bool = AnalysisOptions().clip_fingers


class ProbesTable(_Table):
    """`[probes]`: parsed so that specs can be written today; probes themselves are not built yet."""

    enabled: bool = False
    num_probes: Annotated[int, Field(ge=1)] = 1024
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_traps_per_layer: Annotated[int, Field(ge=1)] = 4

    @field_validator("enabled")
    @classmethod
    def _later(cls, value: bool) -> bool:
        if value:
            raise ValueError(
                "got true; trap probes are not available in this version, set it to false"
            )
        return value


class RunTable(_Table):
    """`[run]`"""

    runner: Literal["local", "ray"] = "local"
    address: str | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0.0
    memory: Annotated[int, Field(ge=1)] | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    max_bytes: Annotated[int, Field(ge=1)] | None = None
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("memory", "max_bytes", mode="before")
    @classmethod
    def _bytes(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?I?B?)\s*", value, re.IGNORECASE)
        unit = match[2].upper() if match else None
        unit = f"{unit}B" if unit and not unit.endswith("B") else unit
        if match is None or unit not in _SIZES:
            raise ValueError(f"got {value!r}; wanted a size such as 4GB or 512MiB")
        return int(float(match[1]) * _SIZES[unit])


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
            trap_modes=traps.modes,
            incumbent=traps.incumbent,
            farms=tail.farms,
            tail_models=tail.alternatives,
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
        )


def parse_spec(text: str, *, folder: Path, name: str = "spec") -> Spec:
    """Validate TOML `text`; relative `path` sources and `out` are resolved against `folder`.

    Raises SpecError with one line per wrong key: its path, what we got, what we wanted.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(
            f"{name}: not valid TOML: {error}; see the README for an example"
        ) from error
    try:
        spec = Spec.model_validate(data)
    except ValidationError as error:
        lines = [_explain(dict(item)) for item in error.errors(include_url=False)]
        told = [line for line in lines if line]
        raise SpecError("\n".join(f"{name}: {line}" for line in told)) from error
    sources = tuple(
        s.model_copy(
            update={
                "path": _resolve(s.path, folder) if s.path else None,
                "base": _resolve_base(s.base, folder) if s.base else None,
            }
        )
        for s in spec.source
    )
    out = _resolve(spec.sweep.out, folder) if spec.sweep.out else None
    return spec.model_copy(
        update={"source": sources, "sweep": spec.sweep.model_copy(update={"out": out})}
    )


def load_spec(path: Path) -> tuple[Spec, str]:
    """The spec in the file `path`, and its text. Raises SpecError."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError as error:
        raise SpecError(f"got {str(path)!r}, no such file; wanted a sweep spec (TOML)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"cannot read {str(path)!r}: {error}; wanted a sweep spec (TOML, UTF-8)"
        ) from error
    return parse_spec(text, folder=path.resolve().parent, name=path.name), text


_WANTED = {
    "string_type": "text in quotes",
    "tuple_type": "a list in square brackets",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "model_type": "a table",
}
"""What pydantic's types of errors ask for, in TOML's words."""


def _resolve(path: str, folder: Path) -> str:
    if "://" in path:
        return path
    return str(folder / Path(path).expanduser())


def _resolve_base(base: str, folder: Path) -> str:
    """A folder beside the spec when there is one, else a Hub id."""
    path = _resolve(base, folder)
    return path if Path(path).exists() else base


def _path(location: tuple[str | int, ...]) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else str(step))
    return text or "spec"


def _explain(item: dict[str, Any]) -> str:
    location = tuple(s for s in item["loc"] if s not in ("str", "int"))
    path = _path(location)
    kind, got = item["type"], item.get("input")
    if kind == "too_short" and path == "source" and got and got != ():
        return ""  # pydantic counts only the valid ones; the wrong ones have lines of their own
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{path}: unknown key; {hint}wanted one of {', '.join(known)}"
    if kind == "missing":
        return f"{path}: missing; wanted at least one [[source]] with hub, query or path"
    message = str(item["msg"])
    if kind == "value_error":
        return f"{path}: {message.removeprefix('Value error, ')}"
    wanted = _WANTED.get(kind) or re.sub(r"^(?:Input|String) should (?:be |have )?", "", message)
    wanted = wanted.replace("greater than or equal to", "at least")
    wanted = wanted.replace("less than or equal to", "at most")
    if kind == "string_pattern_mismatch" and path == "layers.experts":
        wanted = "'all' or 'sample:N', such as 'sample:4'"
    return f"{path}: got {got!r}; wanted {wanted}"


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    table: type[BaseModel] = Spec
    children: dict[str, type[BaseModel]] = {
        "sweep": SweepTable,
        "source": Source,
        "query": Query,
        "layers": LayersTable,
        "traps": TrapsTable,
        "tail": TailTable,
        "probes": ProbesTable,
        "run": RunTable,
    }
    for step in location:
        if isinstance(step, str):
            table = children[step]
    return list(table.model_fields)
