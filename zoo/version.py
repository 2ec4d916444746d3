"""Versions of the numbers: what of this code is hashed in every analysis key.

A change that moves a stored value raises, in the same commit, the version of the group or the decoder
that it is in; CHANGELOG says under "Numbers" what moved. Units that use it are then measured anew, under
another key, and no others. The tests of the golden rows name the columns that moved.

All of it stands here, and not beside the formulas, as a sweep has to know the keys of ten thousand
models before it loads anything that measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zoo.options import AnalysisOptions

NUMBERS_VERSION = 3
"""Of what every number stands on: which matrices are taken from a model, their eigenvalues, the seeds.

Raising it makes a new unit of every model."""


@dataclass(frozen=True, slots=True)
class MetricGroup:
    """Columns that are decided by one piece of mathematics."""

    columns: tuple[str, ...]
    """The classes that declare them, or single columns, by name."""
    is_asked_for: Callable[[AnalysisOptions], bool]
    """False where the options leave all of them NULL: then the version is not hashed."""
    follows_from_spectra: bool
    """True when a refit computes all of them anew from the stored spectra."""
    version: int = 1
    """Raise it in the commit that moves any of them."""


def _always(_: AnalysisOptions) -> bool:
    return True


def _beyond_the_tail(options: AnalysisOptions) -> bool:
    return options.metrics != "tail"


def _shuffles(options: AnalysisOptions) -> bool:
    return options.shuffle_mode != "none"


def _whole_shuffles(options: AnalysisOptions) -> bool:
    return options.shuffle_mode in ("auto", "full")


GROUPS: dict[str, MetricGroup] = {
    # also with metrics = "tail": entries that have to be scaled before they are squared are looked at
    "entries": MetricGroup(("EntryStatistics",), _always, follows_from_spectra=False),
    "scalars": MetricGroup(("Scalars",), _always, follows_from_spectra=True),
    "tail": MetricGroup(("TailFit", "NoTail"), _always, follows_from_spectra=True),
    "clipping": MetricGroup(("Clipping",), lambda o: o.clip_fingers, follows_from_spectra=True),
    "goodness": MetricGroup(("GoodnessOfFit",), lambda o: o.bootstrap > 0, follows_from_spectra=True),
    "tail_models": MetricGroup(("TailModels",), lambda o: o.alternatives, follows_from_spectra=True),
    "farms": MetricGroup(("Farms",), lambda o: o.farms, follows_from_spectra=False),
    # its columns are NULL but for the rows of deltas, which a sweep is asked for by its selection
    "difference": MetricGroup(("Difference",), _always, follows_from_spectra=False),
    "bulk": MetricGroup(("Bulk",), _beyond_the_tail, follows_from_spectra=True),
    "erg": MetricGroup(("Erg",), _beyond_the_tail, follows_from_spectra=True),
    "quality": MetricGroup(("Quality",), _beyond_the_tail, follows_from_spectra=True),
    "phase": MetricGroup(("HtsrPhase",), _beyond_the_tail, follows_from_spectra=True),
    "snr": MetricGroup(("Snr",), _beyond_the_tail, follows_from_spectra=True),
    "shuffle": MetricGroup(
        ("rand_lambda_max", "rand_eigenvalues", "rand_scale_exponent"), _shuffles,
        follows_from_spectra=False,
    ),
    "shuffled_spectrum": MetricGroup(("RandSpectrum",), _whole_shuffles, follows_from_spectra=True),
    "traps": MetricGroup(("TrapSummary", "MeasuredTrap", "Trap"), _shuffles, follows_from_spectra=False),
    "trap_modes": MetricGroup(
        ("Localisation", "TrapCauses"), lambda o: _shuffles(o) and o.modes, follows_from_spectra=False
    ),
    "incumbent": MetricGroup(
        ("num_traps_ww",), lambda o: _whole_shuffles(o) and o.incumbent, follows_from_spectra=False
    ),
}  # fmt: skip
"""Every group by its name, which is hashed beside its version."""

UNKNOWN = "unknown"
"""Stands among the decoders of a unit for tensors that are refused: in no known format or layout."""

DECODERS: dict[str, int] = {
    "none": 1,
    "awq": 1,
    "bitnet": 1,
    "bnb_fp4": 1,
    "bnb_int8": 1,
    "bnb_nf4": 1,
    "comfy_mxfp8": 1,
    "comfy_nvfp4": 1,
    "exl2": 1,
    "fp8": 1,
    "fp8_block": 1,
    "fp8_cast": 1,
    "gguf": 1,
    "gptq": 1,
    "hqq": 1,
    "int8": 1,
    "int_packed": 1,
    "mlx_affine": 1,
    "mlx_mxfp4": 1,
    "mlx_mxfp8": 1,
    "mlx_nvfp4": 1,
    "mxfp4": 1,
    "mxfp8": 1,
    "nvfp4": 1,
    "quark_int": 1,
    "sparse_24": 1,
    "sparse_bitmask": 1,
    "torchao_float8": 1,
    "torchao_int4": 1,
    "torchao_int4_tiles": 1,
    "torchao_int8": 1,
    "torchao_mx": 1,
    "torchao_nvfp4": 1,
    UNKNOWN: 1,
}
"""Version of every decoder of zoo/formats, by its name in the column `decoder`.

Raise it in the commit that moves a value it decodes. A type of GGUF (`gguf_q4_k`) may have an entry of
its own; the others have that of `gguf`. A new decoder begins at 1; raise `unknown` with it, so that models
whose tensors were refused until then are measured anew, and no others.
"""


def decoder_version(name: str) -> int | None:
    """Version of the decoder `name`; None for one that this program has not got."""
    family = name.partition("_")[0]
    return DECODERS.get(name, DECODERS["gguf"] if family == "gguf" else None)
