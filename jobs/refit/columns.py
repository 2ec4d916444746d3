"""One stored layer and its stored spectra -> the columns that follow from them, computed anew.

The same composition that measured the layer (`zoo.spectral.columns`), on the same float32 values, so
that unchanged code gives the same numbers to the last bit. Pure: knows no files and no weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zoo.options import AnalysisOptions
from zoo.seeds import generator
from zoo.spectral.columns import rand_spectrum_columns, scaled, shuffle_columns, spectral_columns
from zoo.spectral.extras import EXTRA_COLUMNS, tail_extras
from zoo.spectral.mp import slice_level
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tracy_widom import johnstone, tw1_quantile
from zoo.spectral.trap_test import BulkEntries, ShuffleTest, trap_test

Row = Mapping[str, object]
Columns = dict[str, object]

OWN = tuple(
    """
    lambda_max lambda_min frobenius_norm_sq log_norm log_spectral_norm stable_rank matrix_rank
    matrix_entropy alpha alpha_stderr ks_distance xmin xmax num_tail alpha_hat alpha_hill
    log_alpha_norm tail_status tail_warning
    mp_sigma mp_edge_lower mp_edge_upper mp_num_spikes mp_softrank
    erg_num erg_lambda_min erg_gap erg_delta erg_log_ratio
    quality_discrete quality_free_cauchy quality_inverse_mp quality_levy_wigner
    quality_r_transform htsr_phase
    """.split()
)
"""Columns that follow from the layer's own spectrum and its shape."""
EXTRAS = tuple(name for name in EXTRA_COLUMNS if not name.startswith("farms"))
"""Columns of the optional fits that follow from the layer's own spectrum."""
RAND = ("rand_distance", "rand_ks_distance", "rand_ks_p_value")
"""Columns that follow from the shuffled spectrum, where the whole of it is stored."""
EDGE = (
    "rand_mp_sigma", "rand_mp_edge_upper",
    "num_traps", "trap_counts", "trap_threshold", "trap_p_value", "trap_excess_max",
)  # fmt: skip
"""Columns of the trap test: computed anew only at another level, else carried over."""
INPUTS = (
    "revision", "tensor", "part", "expert", "n", "m", "receptive_field", "stored_dtype",
    "rand_mp_sigma", "rand_mp_edge_upper", "trap_threshold", "trap_counts", "reason",
)  # fmt: skip
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
    return bool(options.clip_fingers or options.tail_models or options.bootstrap)


@dataclass(slots=True)
class LayerChange:
    """The columns of one layer, computed anew."""

    columns: Columns
    """All of OWN; EXTRAS where asked for; RAND where the shuffled spectrum is stored; EDGE and
    `reason` at another level."""
    is_retested: bool = False
    """True when the trap test was to be made at another level."""
    test: ShuffleTest | None = None
    """That test; None where the stored row does not decide it."""
    trap_exponent: int = 0
    """Its eigenvalues are in units of 2^trap_exponent."""

    def keep(self, columns: Columns) -> None:
        """Forget all but `columns`."""
        self.columns = columns


def refit_layer(row: Row, own: Spectrum, rand: Spectrum | None, change: Change) -> LayerChange:
    """Compute the columns of a measured layer from its stored spectra."""
    n, m, options = _int(row, "n"), _int(row, "m"), change.now
    bits = 64 if row["stored_dtype"] == "F64" else 32
    columns: Columns = dict.fromkeys(OWN)
    columns |= spectral_columns(
        own,
        n=n,
        m=m,
        storage_bits=bits,
        clip_fingers=options.clip_fingers,
        is_tail_only=options.metrics == "tail",
    )
    if change.has_extras:
        columns |= dict.fromkeys(EXTRAS)
    if _wants_extras(options):
        columns |= tail_extras(
            own,
            m=m,
            storage_bits=bits,
            clip_fingers=options.clip_fingers,
            tail_models=options.tail_models,
            num_draws=options.bootstrap,
            rng=generator(*_seed_key(row), "bootstrap", options.seed),
        )
    found = LayerChange(columns)
    sigma = _float(row, "rand_mp_sigma")
    if options.level != change.before.level and _was_tested(row):
        found.is_retested = True
        columns |= dict.fromkeys(EDGE)
        found.test = None if rand is None else retest(row, rand, change)
        if found.test is None or rand is None:
            columns["reason"] = _undecided(columns.get("reason", row["reason"]), options.level)
        else:
            exponent = rand.scale_exponent // 2
            found.trap_exponent = 2 * exponent
            columns |= shuffle_columns(own, [found.test], n=n, m=m, exponent=exponent)
        sigma = _float(columns, "rand_mp_sigma")
    if rand is not None:
        columns |= dict.fromkeys(RAND)
        columns |= rand_spectrum_columns(own, rand, sigma=sigma, n=n, m=m)
    return found


_UNDECIDED = "traps at level "


def _was_tested(row: Row) -> bool:
    """True when traps were tested for, if only at a level that an earlier refit could not decide."""
    return row["trap_counts"] is not None or _UNDECIDED in str(row["reason"])


def _undecided(reason: object, level: float) -> str:
    """The reason of NULL traps, behind what else `reason` says; in place of one for another level."""
    others = str(reason or "").partition(_UNDECIDED)[0].removesuffix("; ")
    why = (
        f"{_UNDECIDED}{level:g} need the weights: the stored numbers do not decide them; sweep the "
        "model again"
    )
    return f"{others}; {why}" if others else why


def retest(row: Row, rand: Spectrum, change: Change) -> ShuffleTest | None:
    """The trap test of the stored shuffle at another level; None where the row does not decide it.

    Decided are layers of one slice and one shuffle. What the entries put into the test (their
    variance and kurtosis, which are not stored) is taken back out of the stored edge and threshold.
    When the level gets stricter and fewer traps are left, the variance cannot be known: None.
    """
    counts, edge, threshold = row["trap_counts"], row["rand_mp_edge_upper"], row["trap_threshold"]
    if not isinstance(counts, list) or len(counts) != 1 or row["receptive_field"] != 1:
        return None
    if not isinstance(edge, float) or not isinstance(threshold, float):
        return None
    n, m, before = _int(row, "n"), _int(row, "m"), int(counts[0])
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
    return test


def trap_rows(stored: Sequence[Row], test: ShuffleTest, exponent: int) -> list[dict[str, object]]:
    """Rows of `traps` of one layer at another level: known modes are kept, new ones are NULL."""
    known = {row["trap_index"]: row for row in stored}
    first = min((int(str(index)) for index in known), default=1)
    rows: list[dict[str, object]] = []
    for index, trap in enumerate(test.traps, start=first):
        row = known.get(
            index,
            {
                "replicate": 0,
                "trap_index": index,
                "lambda": scaled(trap.eigenvalue, exponent),
                "verdict": "unprobed",
            },
        )
        rows.append({**row, "excess_rel": trap.excess_rel, "p_value": trap.p_value})
    return rows


def differences(row: Row, columns: Columns) -> Columns:
    """The columns whose value is not the stored one, to the last bit."""
    return {name: value for name, value in columns.items() if row[name] != value}


def relative_change(old: object, new: object) -> float | None:
    """|new − old| / max(|old|, |new|); None unless both are numbers."""
    if not isinstance(old, int | float) or not isinstance(new, int | float) or old == new:
        return None
    return abs(new - old) / max(abs(old), abs(new))


def _seed_key(row: Row) -> tuple[str, str, str, str]:
    """As `zoo.measure.model` seeds a layer: revision, tensor, part, expert."""
    names = ("revision", "tensor", "part", "expert")
    texts = ["" if row[name] is None else str(row[name]) for name in names]
    return texts[0], texts[1], texts[2], texts[3]


def _int(row: Row, name: str) -> int:
    value = row[name]
    if not isinstance(value, int):
        raise TypeError(f"{name}: got {value!r}; a measured layer has a number there")
    return value


def _float(row: Row, name: str) -> float | None:
    value = row.get(name)
    return value if isinstance(value, float) else None
