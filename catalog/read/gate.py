"""Limits that layers must keep, and which layers break them. Pure: rows in, breaches out.

A layer is looked at by its own numbers. One that could not be measured breaks every gate: nothing vouches
for it. A number that a layer has not got (no tail to fit, no shuffle asked for) is not judged, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.errors import QueryError

Layer = Mapping[str, Any]
"""A row of `layers`."""
COLUMNS = (
    "layer_index", "tensor", "part", "expert", "status", "reason", "alpha", "num_traps", "erg_log_ratio",
    "tied_to",
)  # fmt: skip
"""Columns that a gate needs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of every layer; None: nothing."""

    max_traps: float | None = None
    """Correlation Traps of a layer, the mean over its shuffles."""
    alpha: tuple[float, float] | None = None
    """Least and largest alpha."""
    max_alignment: float | None = None
    """Largest |ln(xmin / erg_lambda_min)|."""

    def __post_init__(self) -> None:
        if self.max_traps is None and self.alpha is None and self.max_alignment is None:
            raise QueryError("wanted at least one of --max-traps, --alpha and --max-alignment")
        for name, limit in (
            ("--max-traps", self.max_traps),
            ("--max-alignment", self.max_alignment),
        ):
            if limit is not None and not limit >= 0.0:
                raise QueryError(f"{name}: got {limit:g}, wanted 0 or more")
        if self.alpha is not None and not self.alpha[0] <= self.alpha[1]:
            raise QueryError(
                f"--alpha: got {self.alpha[0]:g}:{self.alpha[1]:g}, wanted LO:HI, LO <= HI"
            )

    def checks(self, layer: Layer) -> Iterator[tuple[str, float | None, float, str]]:
        """(check, the layer's number, how far beyond the limit it is, the limit in words)."""
        if self.max_traps is not None:
            traps = layer["num_traps"]
            yield "max-traps", traps, _over(traps, self.max_traps), f"at most {self.max_traps:g}"
        if self.alpha is not None:
            low, high = self.alpha
            alpha = layer["alpha"]
            beyond = 0.0 if alpha is None else max(low - alpha, alpha - high, 0.0)
            yield "alpha", alpha, beyond, f"{low:g} to {high:g}"
        if self.max_alignment is not None:
            ratio = layer["erg_log_ratio"] if layer["alpha"] is not None else None
            distance = None if ratio is None else abs(ratio)
            over = _over(distance, self.max_alignment)
            yield "max-alignment", distance, over, f"at most {self.max_alignment:g}"


def _over(value: float | None, limit: float) -> float:
    return 0.0 if value is None else max(value - limit, 0.0)


@dataclass(frozen=True, slots=True)
class Breach:
    """One limit that one layer breaks."""

    model: str
    tensor: str
    part: str | None
    expert: int | None
    check: str
    """`max-traps`, `alpha`, `max-alignment`, or `measured`: the layer could not be."""
    value: float | None
    limit: str
    baseline: float | None
    """The number of the same layer of the baseline; None without one."""
    why: str
    """In words."""

    def to_row(self) -> dict[str, object]:
        """By column."""
        return {name: getattr(self, name) for name in BREACH_COLUMNS}


BREACH_COLUMNS = ("model", "tensor", "part", "expert", "check", "value", "limit", "baseline", "why")
"""Columns of the rows of breaches."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one model did."""

    model: str
    num_layers: int
    """Layers that were looked at."""
    breaches: tuple[Breach, ...]
    num_known: int
    """Limits broken no further than in the baseline, which are let pass."""
    num_unjudged: int
    """Numbers that a limit asks for and a layer has not got."""
    layers: tuple[str, ...] = ()
    """Names of the layers looked at, for reports that list what passed too."""

    @property
    def passed(self) -> bool:
        """True when no layer breaks a limit."""
        return not self.breaches


def judge(
    model: str, layers: Sequence[Layer], limits: Limits, *, baseline: Sequence[Layer] | None = None
) -> Verdict:
    """Hold the layers of a model against the limits.

    With a `baseline`, a limit that its layer of the same name breaks too, as far or further, is let pass:
    what was there before is no news. Tied layers and those that were skipped are not looked at. A model
    without a measured layer breaks the gate.
    """
    before = {_name(layer): layer for layer in baseline or ()}
    breaches: list[Breach] = []
    looked_at: list[str] = []
    num_known = num_unjudged = 0
    for layer in layers:
        if layer["status"] == "skipped" or layer["tied_to"] is not None:
            continue
        looked_at.append(layer_label(layer["tensor"], layer["part"], layer["expert"]))
        old = before.get(_name(layer))
        if layer["status"] == "failed":
            why = f"could not be measured: {layer['reason']}"
            breaches.append(_breach(model, layer, "measured", None, "measured", None, why))
            continue
        olds = {} if old is None or old["status"] != "ok" else {c[0]: c for c in limits.checks(old)}
        for check, value, beyond, limit in limits.checks(layer):
            if value is None:
                num_unjudged += 1
            if beyond <= 0.0:
                continue
            _, old_value, old_beyond, _ = olds.get(check, (check, None, 0.0, limit))
            if old_beyond >= beyond:
                num_known += 1
                continue
            why = f"{_WORDS[check]} {value:.4g}, wanted {limit}"
            if old_value is not None:
                why += f"; the baseline has {old_value:.4g}"
            elif baseline is not None:
                why += "; the baseline has no such number"
            breaches.append(_breach(model, layer, check, value, limit, old_value, why))
    if not looked_at:
        why = "no layer was measured, so nothing speaks for the model"
        breaches.append(Breach(model, "", None, None, "measured", None, "measured", None, why))
    return Verdict(
        model, len(looked_at), tuple(breaches), num_known, num_unjudged, tuple(looked_at)
    )


_WORDS = {
    "max-traps": "Correlation Traps",
    "alpha": "alpha",
    "max-alignment": "|ln(xmin / erg_lambda_min)|",
}


def _breach(
    model: str,
    layer: Layer,
    check: str,
    value: float | None,
    limit: str,
    baseline: float | None,
    why: str,
) -> Breach:
    return Breach(
        model, layer["tensor"], layer["part"], layer["expert"], check, value, limit, baseline, why
    )


def _name(layer: Layer) -> tuple[object, ...]:
    return layer["tensor"], layer["part"], layer["expert"]


def layer_label(tensor: str, part: str | None, expert: int | None) -> str:
    """A layer in one word: `h.0.attn.weight[q]`, `experts.weight[expert 3]`."""
    more = [
        *([part] if part is not None else []),
        *([f"expert {expert}"] if expert is not None else []),
    ]
    return f"{tensor}[{', '.join(more)}]" if more else tensor
