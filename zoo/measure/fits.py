"""What a layer's eigenvalues give on the CPU, made for helper processes: values in, values out, no torch.

One layer at a time for whoever has one, some layers at a time for a batch (`zoo.measure.device_batch`). Composes
`zoo.spectral` and knows nothing of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float64

from zoo.options import AnalysisOptions
from zoo.seeds import generator
from zoo.spectral.arrays import Doubles, Vector
from zoo.spectral.clipped_tail import Clipping
from zoo.spectral.extras import TailExtras, tail_extras
from zoo.spectral.localisation import Localisation, Mode, Sector, localised
from zoo.spectral.own import OwnSpectrum, above, own_spectrum, own_tail
from zoo.spectral.shuffled import Shuffles, shuffle_columns
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.tails import NoTail, TailFit
from zoo.spectral.trap_test import BulkEntries, ShuffleTest, trap_test


@dataclass(frozen=True, slots=True)
class LayerEvals:
    """A layer's own eigenvalues, and what the fits have to know of the layer."""

    evals: Float64[Doubles, "k m"]
    """A row a slice, in units of 2^exponent."""
    exponent: int
    n: int
    m: int
    storage_bits: int
    seed_key: tuple[str, ...]
    floor: float = 0.0
    """Of a difference, the edge of its rounding."""


@dataclass(frozen=True, slots=True)
class OwnPart:
    """Everything that follows from a layer's own eigenvalues."""

    spectrum: Spectrum
    own: OwnSpectrum
    extras: TailExtras | None
    num_fitted: int
    """Eigenvalues above the floor."""


def own_part(layer: LayerEvals, options: AnalysisOptions) -> OwnPart:
    """Norms, tail, bulk, ERG condition, quality, phase, and the optional fits of one layer."""
    spectrum = Spectrum.rounded(layer.evals.reshape(-1), layer.exponent)
    fitted = above(spectrum, layer.floor)
    tail, clipping = own_tail(
        fitted, m=layer.m, storage_bits=layer.storage_bits, clip_fingers=options.clip_fingers
    )
    own = own_spectrum(
        spectrum,
        tail,
        n=layer.n,
        m=layer.m,
        storage_bits=layer.storage_bits,
        is_tail_only=options.metrics == "tail",
        floor=layer.floor,
    )
    extras = _extras(layer, options, fitted, tail, clipping)
    return OwnPart(spectrum, own, extras, int(fitted.evals.size))


def own_parts(layers: Sequence[LayerEvals], options: AnalysisOptions) -> list[OwnPart]:
    """`own_part` of some layers."""
    return [own_part(layer, options) for layer in layers]


@dataclass(frozen=True, slots=True)
class ShuffledEvals:
    """One shuffle of a layer: of each slice all eigenvalues or the largest, ascending, and the trace."""

    tops: tuple[Vector, ...]
    traces: tuple[float, ...]
    bulks: tuple[BulkEntries, ...]


def shuffle_tests(
    shuffles: Sequence[ShuffledEvals], n: int, m: int, level: float
) -> list[ShuffleTest | None]:
    """The trap test of some shuffles of n×m slices."""
    return [trap_test(s.tops, s.traces, n=n, m=m, bulks=s.bulks, level=level) for s in shuffles]


@dataclass(frozen=True, slots=True)
class ShuffledLayerEvals:
    """All shuffles of a layer, and the layer's own eigenvalues."""

    own: LayerEvals
    tests: tuple[ShuffleTest | None, ...]
    whole: tuple[Float64[Doubles, "k m"] | None, ...]
    """All eigenvalues of a shuffle, where they are to be looked at."""
    lambda_max: float
    """Of the first shuffle."""


ShuffledPart = tuple[Shuffles, Spectrum | None]
"""The columns of a layer's shuffles but for the causes of its traps, and the spectrum of the first shuffle."""


def shuffle_parts(
    layers: Sequence[ShuffledLayerEvals], options: AnalysisOptions, near: float | None
) -> list[ShuffledPart]:
    """The columns of the shuffles of some layers, and the spectrum of the first where all of it is known."""
    return [
        shuffle_columns(
            Spectrum.rounded(layer.own.evals.reshape(-1), layer.own.exponent),
            layer.tests,
            layer.whole,
            lambda_max=layer.lambda_max,
            n=layer.own.n,
            m=layer.own.m,
            exponent=layer.own.exponent,
            near=near,
            incumbent=options.incumbent,
        )
        for layer in layers
    ]


@dataclass(frozen=True, slots=True)
class ShapedMode:
    """A trap's mode, and what its shape is read from."""

    mode: Mode
    left: Vector
    """Leading singular vectors of the mode carried back, as `right`."""
    right: Vector
    share: float
    """Their share of its Σs²."""
    sector: Sector
    """The top one of the layer's own matrix."""


def shapes(modes: Sequence[ShapedMode]) -> list[Localisation]:
    """`localised` of some traps."""
    return [localised(m.mode, m.left, m.right, rank1_mass=m.share, sector=m.sector) for m in modes]


def _extras(
    layer: LayerEvals,
    options: AnalysisOptions,
    spectrum: Spectrum,
    tail: TailFit | NoTail,
    clipping: Clipping | None,
) -> TailExtras | None:
    """What the options ask for beyond the power law; nothing by default."""
    if not (options.alternatives or options.bootstrap or options.clip_fingers):
        return None
    return tail_extras(
        spectrum,
        tail,
        clipping,
        m=layer.m,
        storage_bits=layer.storage_bits,
        tail_models=options.alternatives,
        num_draws=options.bootstrap,
        rng=generator(*layer.seed_key, "bootstrap", options.seed),
    )
