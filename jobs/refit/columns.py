"""One stored layer and its stored spectra -> the columns that follow from them, computed anew.

The same composition that measured the layer (`zoo.spectral.own`, `extras`, `shuffled`), on the same
float32 values, so that unchanged code gives the same numbers to the last bit. Pure: knows no files and
no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from zoo.cells import cells, empty_cells
from zoo.columns import names_of
from zoo.measure.row import MeasuredTrap
from zoo.options import AnalysisOptions
from zoo.seeds import generator, layer_key
from zoo.spectral.extras import TailExtras, tail_extras
from zoo.spectral.localisation import TrapCauses
from zoo.spectral.mp import slice_level
from zoo.spectral.own import OWN_REASONS, OwnSpectrum, above, own_spectrum, own_tail
from zoo.spectral.replication import is_settled, staged_up_to
from zoo.spectral.shuffled import RandSpectrum, TrapSummary, beside_shuffle, over_replicates
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tracy_widom import johnstone, tw1_quantile
from zoo.spectral.trap_test import BulkEntries, ShuffleTest, trap_test

Row = Mapping[str, Any]
"""A stored row, as Arrow hands it out."""
Cells = dict[str, object]
"""Values by column."""

OWN = names_of(OwnSpectrum)
"""Columns that follow from the layer's own spectrum and its shape."""
EXTRAS = names_of(TailExtras)
"""Columns of the optional fits that follow from the layer's own spectrum."""
RAND = names_of(RandSpectrum)
"""Columns that follow from the shuffled spectrum, where the whole of it is stored."""
TRAP_TEST = (*names_of(TrapSummary), *names_of(TrapCauses))
"""Columns of the trap test: computed anew only at another level, else carried over."""


_UNDECIDED = "traps at level "
"""How the reason of a layer begins whose traps cannot be told at another level."""


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """What of a stored row goes in; the fields are its columns."""

    tensor: str
    part: str | None
    expert: int | None
    num_rows: int
    num_cols: int
    n: int
    m: int
    receptive_field: int
    stored_dtype: str | None
    rand_mp_sigma: float | None
    rand_mp_edge_upper: float | None
    trap_threshold: float | None
    trap_counts: list[int] | None
    num_traps_mean: float | None
    num_traps_entries: float | None
    reason: str | None
    delta_base_dtype: str | None
    delta_noise_edge: float | None

    @classmethod
    def of(cls, row: Row) -> StoredLayer:
        """What `row` of the table says."""
        return cls(**{name: row[name] for name in INPUTS})

    @property
    def storage_bits(self) -> int:
        """Bits of a stored number, as far as the rank tolerance asks."""
        return 64 if {self.stored_dtype, self.delta_base_dtype} <= {"F64", None} else 32

    @property
    def seed_key(self) -> tuple[str, ...]:
        """What seeds the layer: the same as when it was measured."""
        return layer_key(self.tensor, self.part, self.expert, self.num_rows, self.num_cols)

    @property
    def causes(self) -> Cells:
        """The columns of the traps by what makes them, as they are stored."""
        return {name: getattr(self, name) for name in names_of(TrapCauses)}

    @property
    def was_tested(self) -> bool:
        """True when traps were tested for, if only at a level that an earlier refit could not decide."""
        return self.trap_counts is not None or _UNDECIDED in (self.reason or "")


INPUTS = tuple(field.name for field in fields(StoredLayer))
"""Columns of the stored row that go in."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a refit is asked to compute; equal options: the same numbers again."""

    before: AnalysisOptions
    """Options of the stored numbers."""
    now: AnalysisOptions
    """Options of the numbers to compute. At the same level the trap test is carried over."""

    @property
    def has_extras(self) -> bool:
        """True when the columns of EXTRAS are, or were, asked for."""
        return _wants_extras(self.before) or _wants_extras(self.now)


def _wants_extras(options: AnalysisOptions) -> bool:
    return bool(options.clip_fingers or options.alternatives or options.bootstrap)


@dataclass(slots=True)
class LayerChange:
    """The columns of one layer, computed anew."""

    columns: Cells
    """All of OWN; EXTRAS where asked for; RAND where the shuffled spectrum is stored; TRAP_TEST and
    `reason` at another level."""
    is_retested: bool = False
    """True when the trap test was to be made at another level."""
    test: ShuffleTest | None = None
    """The test at that level; None where the stored row does not decide it."""
    trap_exponent: int = 0
    """The eigenvalues of the test are in units of 2^trap_exponent."""

    def keep(self, columns: Cells) -> None:
        """Forget all but `columns`."""
        self.columns = columns


def refit_layer(row: Row, own: Spectrum, rand: Spectrum | None, change: Change) -> LayerChange:
    """Compute the columns of a measured layer from its stored spectra."""
    stored, options = StoredLayer.of(row), change.now
    n, m, bits = stored.n, stored.m, stored.storage_bits
    floor = stored.delta_noise_edge or 0.0
    fitted = above(own, floor)
    tail, clipping = own_tail(fitted, m=m, storage_bits=bits, clip_fingers=options.clip_fingers)
    anew = own_spectrum(
        own, tail, n=n, m=m, storage_bits=bits, is_tail_only=options.metrics == "tail", floor=floor
    )
    columns = cells(anew)
    reason = _beside(anew.reason, stored.reason)
    if reason != stored.reason:
        columns["reason"] = reason
    if change.has_extras:
        columns |= empty_cells(TailExtras)
    if _wants_extras(options):
        extras = tail_extras(
            fitted,
            tail,
            clipping,
            m=m,
            storage_bits=bits,
            tail_models=options.alternatives,
            num_draws=options.bootstrap,
            rng=generator(*stored.seed_key, "bootstrap", options.seed),
        )
        columns |= cells(extras)
    result = LayerChange(columns)
    sigma = stored.rand_mp_sigma
    if options.level != change.before.level and stored.was_tested:
        result.is_retested = True
        columns |= empty_cells(TrapSummary)
        sigma = None
        result.test = None if rand is None else retest(stored, rand, change)
        if result.test is None or rand is None:
            columns |= empty_cells(TrapCauses)
            columns["reason"] = _undecided(reason, options.level)
        else:
            exponent = rand.scale_exponent // 2
            result.trap_exponent = 2 * exponent
            test = over_replicates(own, [result.test], n=n, m=m, exponent=exponent, near=None)
            if test is not None:
                # modes of other traps would need the weights
                is_same_count = list(test.trap_counts) == stored.trap_counts
                columns |= cells(test, exponent=2 * exponent)
                columns |= stored.causes if is_same_count else empty_cells(TrapCauses)
                sigma = test.rand_mp_sigma
    if rand is not None:
        columns |= cells(beside_shuffle(own, rand, sigma=sigma, n=n, m=m))
    return result


def _beside(anew: str | None, stored: str | None) -> str | None:
    """The reason with what the spectrum says now, beside what it does not tell (how the layer was cut)."""
    parts = (stored or "").split("; ")
    others = [part for part in parts if part and not part.startswith(OWN_REASONS)]
    return "; ".join([*filter(None, [anew]), *others]) or None


def _undecided(reason: str | None, level: float) -> str:
    """The reason of NULL traps, behind what else `reason` says; in place of one for another level."""
    others = (reason or "").partition(_UNDECIDED)[0].removesuffix("; ")
    why = (
        f"{_UNDECIDED}{level:g} need the weights: the stored numbers do not decide them; sweep the "
        "model again"
    )
    return f"{others}; {why}" if others else why


def retest(stored: StoredLayer, rand: Spectrum, change: Change) -> ShuffleTest | None:
    """The trap test of the stored shuffle at another level; None where the row does not decide it.

    Decided are layers of one slice and one shuffle. What the entries put into the test (their
    variance and kurtosis, which are not stored) is taken back out of the stored edge and threshold.
    When the level gets stricter and fewer traps are left, the variance cannot be known: None.
    """
    counts, edge, threshold = stored.trap_counts, stored.rand_mp_edge_upper, stored.trap_threshold
    if counts is None or len(counts) != 1 or stored.receptive_field != 1:
        return None
    if edge is None or threshold is None:
        return None
    n, m, before = stored.n, stored.m, counts[0]
    odd = rand.scale_exponent % 2  # the test counts in powers of four
    evals = np.ldexp(rand.evals, odd) if odd else rand.evals
    unit = rand.scale_exponent - odd
    gamma, root = m / n, (math.sqrt(n) + math.sqrt(m)) ** 2
    variance = math.ldexp(edge, -unit) / root
    law = johnstone(max(n - before, 1), max(m - before, 1))
    quantile = tw1_quantile(slice_level(change.before.level, 1))
    shift = math.ldexp(threshold, -unit) / variance - law.centre - quantile * law.scale
    kurtosis = shift * math.sqrt(gamma) / (1.0 + math.sqrt(gamma)) ** 2
    trace = float(evals.sum())
    rest = (trace - float(evals[evals.size - before :].sum())) / ((n - before) * (m - before))
    is_capped = variance < rest * (1.0 - 1e-6)
    extreme = 1.0 - variance * n * m / trace if is_capped else 0.0
    bulk = BulkEntries(kurtosis, extreme)
    test = trap_test([evals], [trace], n=n, m=m, bulks=[bulk], level=change.now.level)
    if test is None or (len(test.traps) < before and not is_capped):
        return None
    is_staged = staged_up_to(change.now.fixed_replicates, m=m, level=change.now.level) is not None
    if is_staged and not is_settled([test], level=change.now.level):
        return None  # a measurement would shuffle the layer again
    return test


def trap_rows(stored: Sequence[Row], test: ShuffleTest, exponent: int) -> list[dict[str, object]]:
    """Rows of `traps` of one layer at another level: known modes are kept, new ones are NULL."""
    known = {row["trap_index"]: row for row in stored}
    rows: list[dict[str, object]] = []
    for index, trap in enumerate(test.traps, start=min(known, default=1)):
        row = known.get(index) or cells(MeasuredTrap(exponent, 0, index, trap))
        rows.append({**row, "excess_rel": trap.excess_rel, "p_value": trap.p_value})
    return rows


def differences(row: Row, columns: Cells) -> Cells:
    """The columns whose value is not the stored one, to the last bit."""
    return {name: value for name, value in columns.items() if row[name] != value}


def relative_change(old: object, new: object) -> float | None:
    """|new − old| / max(|old|, |new|); None unless both are numbers."""
    if not isinstance(old, int | float) or not isinstance(new, int | float) or old == new:
        return None
    return abs(new - old) / max(abs(old), abs(new))
