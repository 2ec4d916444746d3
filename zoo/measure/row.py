"""The rows of a measured model: what one layer, one of its traps and its spectra are stored as.

A row is made once, of the groups of columns that the formulas return, and carried as it is to the table;
`zoo.columns.cells` makes a mapping of it there. Needs no torch, so that whoever carries rows needs none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from zoo.columns import (
    ARRAY,
    BYTES,
    COUNT,
    FLAG,
    INDEX,
    NAT,
    ONE,
    REQUIRED,
    SCALE,
    SECONDS,
    SMALL,
    TEXT,
    Group,
    Since,
    Unit,
)
from zoo.formats.weight import Fate
from zoo.spectral.arrays import NDArray
from zoo.spectral.diagnostics import EntryStatistics
from zoo.spectral.difference import Difference
from zoo.spectral.extras import TailExtras
from zoo.spectral.farms import Farms
from zoo.spectral.localisation import Localisation
from zoo.spectral.own import OwnSpectrum
from zoo.spectral.shuffled import Shuffles
from zoo.spectral.spectrum import Spectrum
from zoo.spectral.trap_test import Trap

Status = Literal["ok", "failed", "skipped"]
"""Whether a layer was measured, could not be, or was not to be."""
Verdict = Literal["active", "benign", "unprobed"]
"""What the probes say of a trap."""
_STORED_LAMBDA = Unit("λ·2^-e")
"""The unit of stored eigenvalues, which one power of two scales."""


@dataclass(frozen=True, slots=True)
class LayerName(Group):
    """What names one layer within a model; rows of `traps` and `spectra` begin with it too."""

    layer_index: Annotated[int, INDEX, REQUIRED]
    """Position of the layer in the model, from 0."""
    tensor: Annotated[str, TEXT, REQUIRED]
    """Name of the tensor the layer was taken from."""
    part: Annotated[str | None, TEXT]
    """Part of a fused tensor: `q`, `k`, `v`, `gate`, `up`, ...; NULL for a whole tensor."""
    expert: Annotated[int | None, INDEX]
    """Number of the expert; NULL outside mixtures of experts."""
    delta_base: Annotated[str | None, TEXT, Since(2)] = None
    """Model id of the base model: the row is of the difference W − W_base. NULL: of the weights themselves."""


@dataclass(frozen=True, slots=True)
class Place(Group):
    """Where in the network the layer stands."""

    block: Annotated[int | None, INDEX]
    """Transformer block (or stage) number; NULL outside blocks."""
    role: Annotated[str, TEXT]
    """What the matrix does: `q`, `mlp_up`, `embedding`, `conv`, ..."""


@dataclass(frozen=True, slots=True)
class Shape(Group):
    """The size of the layer's matrix, or of the slices that are pooled."""

    num_rows: Annotated[int, COUNT]
    """Rows of the matrix as stored (of one slice if pooled)."""
    num_cols: Annotated[int, COUNT]
    """Columns of the matrix as stored (of one slice if pooled)."""
    n: Annotated[int, COUNT]
    """Larger side."""
    m: Annotated[int, COUNT]
    """Smaller side: eigenvalues of one slice."""
    q: Annotated[float | None, ONE]
    """Aspect ratio n/m, at least 1; NULL for an empty matrix."""
    receptive_field: Annotated[int, COUNT]
    """Slices pooled into the spectrum: kh·kw; 1 if dense."""
    num_evals: Annotated[int, COUNT]
    """Eigenvalues: m·receptive_field."""
    num_params: Annotated[int, COUNT]
    """Entries of the layer."""

    @classmethod
    def of(cls, num_slices: int, rows: int, cols: int) -> Shape:
        """The shape of `num_slices` pooled matrices [rows, cols]."""
        n, m = max(rows, cols), min(rows, cols)
        return cls(
            num_rows=rows,
            num_cols=cols,
            n=n,
            m=m,
            q=n / m if m else None,
            receptive_field=num_slices,
            num_evals=num_slices * m,
            num_params=num_slices * rows * cols,
        )


@dataclass(frozen=True, slots=True)
class Stored(Group):
    """How the layer's tensor lies in the checkpoint."""

    stored_dtype: Annotated[str | None, TEXT]
    """Safetensors code of the stored tensor: `BF16`, ..."""
    decoder: Annotated[str | None, TEXT]
    """`none`, or the decoder of a quantised format."""
    is_dequantised: Annotated[bool | None, FLAG]
    """True when the values were decoded from fewer bits."""
    tied_to: Annotated[str | None, TEXT]
    """Tensor this one shares its values with; NULL if untied."""


@dataclass(frozen=True, slots=True)
class Outcome(Group):
    """How the measurement ended."""

    status: Annotated[Status, TEXT, REQUIRED]
    """`ok`, `failed` or `skipped`."""
    reason: Annotated[str | None, TEXT] = None
    """Why the layer failed or was skipped, or a number is missing; NULL if there is nothing to say."""


@dataclass(frozen=True, slots=True)
class Effort(Group):
    """What measuring took."""

    spectrum_s: Annotated[float, SECONDS]
    """Seconds in the layer's own spectrum."""
    shuffle_s: Annotated[float | None, SECONDS]
    """Seconds in its shuffles."""
    device: Annotated[str, TEXT]
    """Where the spectrum was computed: `cpu`, `cuda`."""
    solver: Annotated[str | None, TEXT, Since(3)] = None
    """What computed the eigenvalues: `lapack`, `cusolver_batched`, `torch_batched`, or `torch` for one matrix
    after the other. Their values differ in the last bits."""
    permutation: Annotated[str | None, TEXT, Since(3)] = None
    """How the entries were shuffled: `fisher_yates` (on a CPU, and in all rows that are older than this column)
    or `philox` (on an accelerator); NULL without shuffles."""
    batch_size: Annotated[int | None, COUNT, Since(3)] = None
    """Layers that were solved together; fewer than planned where the accelerator ran out of memory."""


@dataclass(frozen=True, slots=True)
class Measured(Group):
    """Every group of columns that a layer's matrices give; None what was not computed."""

    shape: Shape | None
    outcome: Outcome
    own: OwnSpectrum | None = None
    entries: EntryStatistics | None = None
    shuffles: Shuffles | None = None
    extras: TailExtras | None = None
    farms: Farms | None = None
    difference: Difference | None = None
    effort: Effort | None = None


@dataclass(frozen=True, slots=True)
class Reading(Group):
    """What loading took, and all together."""

    read_s: Annotated[float, SECONDS]
    """Seconds waiting for the layer's bytes."""
    bytes_read: Annotated[int, BYTES]
    """Bytes fetched for the layer."""
    total_s: Annotated[float, SECONDS]
    """Seconds for the layer, all together."""


@dataclass(frozen=True, slots=True)
class Counterpart(Group):
    """Where W_base is, in a row of W − W_base."""

    delta_base_tensor: Annotated[str | None, TEXT, Since(2)]
    """Name of the tensor of the base model that was subtracted; NULL where there was none."""
    delta_base_dtype: Annotated[str | None, TEXT, Since(2)]
    """Safetensors code of that tensor as stored."""


@dataclass(frozen=True, slots=True)
class ProbedLayer(Group):
    """What probes say of a layer's traps; empty until `zoo probe` has run."""

    num_active_traps: Annotated[float | None, COUNT, Since(2)] = None
    """Active traps of a shuffle, the mean over the shuffles of which a trap was probed; NULL where none
    was. Traps beyond a cap are in neither count: the table `traps` says which."""


@dataclass(frozen=True, slots=True)
class LayerRow(Group):
    """A row of `layers`, without the keys of its unit."""

    name: LayerName
    place: Place
    stored: Stored
    measured: Measured
    reading: Reading
    counterpart: Counterpart | None = None
    probed: ProbedLayer = ProbedLayer()


@dataclass(frozen=True, slots=True)
class Probe(Group):
    """What random inputs through the network say of the trap (`zoo.probes`)."""

    jsd: Annotated[float | None, NAT] = None
    """J: mean Jensen-Shannon divergence of the outputs when the mode is replaced, in [0, ln 2]; NULL when
    not probed. Comparable within one model only."""
    jsd_stderr: Annotated[float | None, NAT] = None
    """Standard error of jsd over the probes."""
    jsd_control_p95: Annotated[float | None, NAT] = None
    """95th percentile of J over bulk modes of the same shuffled matrix, replaced alike."""
    probe_kind: Annotated[str | None, TEXT] = None
    """What was fed in: `random_tokens`, `gaussian`, `data`."""
    num_probes: Annotated[int | None, COUNT] = None
    """Probes behind jsd."""
    temperature: Annotated[float | None, ONE] = None
    """τ of the softmax."""
    verdict: Annotated[Verdict, TEXT, REQUIRED] = "unprobed"
    """`active` (jsd above jsd_control_p95), `benign`, `unprobed`."""
    num_controls: Annotated[int | None, COUNT, Since(2)] = None
    """Ablations of bulk modes behind jsd_control_p95."""
    probe_reason: Annotated[str | None, TEXT, Since(2)] = None
    """Why there is no verdict, or what is special about it: a cap, a network that cannot be built, a
    layer that the network never uses, a tied weight; NULL where no probe was asked for."""
    probe_data: Annotated[str | None, TEXT, Since(3)] = None
    """Name of the file of given data, and the first 12 digits of its sha256; NULL for random inputs."""


@dataclass(frozen=True, slots=True)
class MeasuredTrap(Group):
    """Every group of columns that one trap of a layer's shuffles has."""

    exponent: Annotated[int, SCALE]
    replicate: Annotated[int, INDEX, REQUIRED]
    """Number of the shuffle, from 0."""
    trap_index: Annotated[int, INDEX, REQUIRED]
    """Rank of the trap in it, largest first, from 1."""
    trap: Trap
    localisation: Localisation | None = None
    """None where the mode was not computed."""
    probe: Probe = Probe()


@dataclass(frozen=True, slots=True)
class TrapRow(Group):
    """A row of `traps`, without the keys of its unit."""

    name: LayerName
    measured: MeasuredTrap


RowFate = Literal[Fate, "left_out"]
"""What a row of `tensors` says: the fate of a stored tensor, or that a file is not read."""


@dataclass(frozen=True, slots=True)
class TensorRow(Group):
    """A row of `tensors`, without the keys of its unit."""

    tensor: Annotated[str, TEXT, REQUIRED]
    """Name in the header; of a file that is not read, the file's."""
    dtype: Annotated[str | None, TEXT]
    """Safetensors code; NULL for a file."""
    shape: Annotated[tuple[int, ...] | None, COUNT]
    """Shape as stored; NULL for a file."""
    fate: Annotated[RowFate, TEXT, REQUIRED]
    """`analysed`, `companion` (bias, scale, zero point), `skipped`, `unknown` (an error), or
    `left_out`: a file that could hold weights and is not read."""
    reason: Annotated[str | None, TEXT]
    """Why, for every fate but `analysed`."""
    nbytes: Annotated[int, BYTES]
    """Bytes as stored."""


@dataclass(frozen=True, slots=True)
class SpectrumRow(Group):
    """A row of `spectra`, without the keys of its unit."""

    name: LayerName
    eigenvalues: Annotated[NDArray[np.float32], _STORED_LAMBDA, ARRAY]
    """Ascending λ, divided by 2^scale_exponent."""
    scale_exponent: Annotated[int, ONE, SMALL]
    """e: λ = value·2^e."""
    rand_eigenvalues: Annotated[NDArray[np.float32] | None, _STORED_LAMBDA, ARRAY]
    """Ascending λ of the first shuffle; NULL when only its top was computed."""
    rand_scale_exponent: Annotated[int | None, ONE, SMALL]
    """e of rand_eigenvalues."""

    @classmethod
    def of(cls, name: LayerName, own: Spectrum, rand: Spectrum | None) -> SpectrumRow:
        """The row of a measured layer."""
        return cls(
            name=name,
            eigenvalues=own.evals.astype(np.float32),
            scale_exponent=own.scale_exponent,
            rand_eigenvalues=None if rand is None else rand.evals.astype(np.float32),
            rand_scale_exponent=None if rand is None else rand.scale_exponent,
        )
