"""What is computed, as frozen values. The one place where these defaults live.

Every field that can move a stored number is part of the analysis key (see `AnalysisOptions.key_fields`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

ShuffleMode = Literal["auto", "full", "top", "none"]
FusedMode = Literal["split", "whole", "both"]
Metrics = Literal["all", "tail"]
AdapterMode = Literal["delta", "merged", "both"]


@dataclass(frozen=True, slots=True)
class LayerSelection:
    """Which tensors become layers."""

    include: tuple[str, ...] = ("*",)
    """Globs on tensor names; a tensor is taken when any matches."""
    exclude: tuple[str, ...] = ()
    """Globs on tensor names; a tensor is left out when any matches."""
    min_evals: int = 1
    """Layers with fewer eigenvalues are skipped, with the reason in their row."""
    fused: FusedMode = "split"
    """Fused projections (QKV, gate-up): their parts, the stored matrix, or both."""
    experts: str = "all"
    """`all`, or `sample:N`: N experts of each block, chosen by seed."""
    adapters: AdapterMode = "delta"
    """LoRA: the update ΔW, what it makes of the base model (W₀ + ΔW), or both."""


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """How each layer is measured (science.md)."""

    metrics: Metrics = "all"
    """`all`, or `tail`: norms and the power-law tail alone, the rest null; four times faster."""
    shuffle: ShuffleMode = "auto"
    """`full`: whole shuffled spectrum; `top`: only what leaves the bulk; `auto`: full up to m = 2,048."""
    replicates: int | None = None
    """Shuffles a layer; None: 1, or 5 when m < 100."""
    seed: int = 0
    """Enters every seeded choice beside revision, tensor, part and replicate."""
    level: float = 0.01
    """Family-wise false-alarm level of the trap test, per matrix."""
    trap_modes: bool = True
    """Carry each trap back to the original coordinates and fill the `traps` table."""
    incumbent: bool = True
    """Compute `num_traps_ww` by WeightWatcher's recipe."""
    farms: bool = False
    """Average alpha over fixed-aspect-ratio submatrices (FARMS, ICML 2025)."""
    tail_models: bool = False
    """Fit truncated power law, lognormal and exponential, with likelihood-ratio tests."""
    bootstrap: int = 0
    """Semi-parametric bootstrap draws for the goodness-of-fit p-value; 0: none."""
    clip_fingers: bool = False
    """Clip the largest eigenvalues when that lowers alpha by more than one ("fingers")."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`; values agree within the accuracy bar, so not part of the key."""

    @property
    def shuffle_mode(self) -> ShuffleMode:
        """`shuffle`, or `none` where nothing but the tail is wanted."""
        return "none" if self.metrics == "tail" else self.shuffle

    def key_fields(self) -> dict[str, object]:
        """The fields that can move a stored number, for the analysis key."""
        return {k: v for k, v in asdict(self).items() if k != "device"}
