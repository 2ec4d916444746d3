"""TOML text -> a `Spec`. Parsing is validation; relative paths are resolved against the spec's folder here alone."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from jobs.errors import SpecError
from jobs.spec.messages import explain
from jobs.spec.tables import Spec
from zoo.io.addresses import address_of, is_url


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
        lines = [explain(dict(item)) for item in error.errors(include_url=False)]
        messages = [line for line in lines if line]
        raise SpecError("\n".join(f"{name}: {line}" for line in messages)) from error
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
    probed = _resolve(spec.probes.data, folder) if spec.probes.data else None
    return spec.model_copy(
        update={
            "source": sources,
            "sweep": spec.sweep.model_copy(update={"out": out}),
            "probes": spec.probes.model_copy(update={"data": probed}),
        }
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


def _resolve(path: str, folder: Path) -> str:
    if is_url(path):
        return path
    return str(folder / Path(path).expanduser())


def _resolve_base(base: str, folder: Path) -> str:
    """A folder beside the spec when there is one, else what the text means by its form."""
    address = address_of(base, folder=str(folder))
    return address.place if address.kind == "path" else base
