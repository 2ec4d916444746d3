"""What is computed, as frozen values. The one place where these defaults live.

Every field that can move a stored number is part of the analysis key (see `AnalysisOptions.key_fields`).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from zoo.errors import UseError

ShuffleMode = Literal["auto", "full", "top", "none"]
"""How much of the shuffled spectrum is computed; see `AnalysisOptions.shuffle`."""
FusedMode = Literal["split", "whole", "both"]
"""How fused projections are taken; see `LayerSelection.fused`."""
Metrics = Literal["all", "tail"]
"""Which numbers are computed; see `AnalysisOptions.metrics`."""
FULL_SHUFFLE_UP_TO = 2048
"""Smaller side up to which `shuffle = "auto"` computes the whole shuffled spectrum."""
AdapterMode = Literal["delta", "merged", "both"]
"""What is taken of an adapter; see `LayerSelection.adapters`."""


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
    deltas: bool = False
    """Beside the layers of a fine-tune also W − W_base of each, where its base model is known."""

    def __post_init__(self) -> None:
        for name in ("include", "exclude"):
            globs = getattr(self, name)
            # a bare string is a sequence of one-letter globs, and its `*` matches everything
            if isinstance(globs, str) or not all(isinstance(glob, str) for glob in globs):
                raise UseError(
                    f"{name}: got {globs!r}; wanted globs in a tuple, such as ('*.mlp.*',)"
                )
            object.__setattr__(self, name, tuple(globs))
        _at_least(1, min_evals=self.min_evals)
        _one_of(get_args(FusedMode), fused=self.fused)
        _one_of(get_args(AdapterMode), adapters=self.adapters)
        if self.deltas and self.adapters != "delta":
            raise UseError(
                f"deltas: got it with adapters = {self.adapters!r}; wanted adapters = 'delta', whose rows "
                "are what an adapter changes"
            )
        if not re.fullmatch(r"all|sample:[1-9][0-9]*", str(self.experts)):
            raise UseError(
                f"layers.experts is {self.experts!r}; wanted 'all' or 'sample:N' with N >= 1"
            )

    def key_fields(self, *, has_base: bool) -> dict[str, object]:
        """The fields for the analysis key. `deltas` is one of a model with a base alone: of any other it
        changes nothing."""
        fields = asdict(self)
        if not (self.deltas and has_base):
            del fields["deltas"]
        return fields

    @property
    def expert_sample(self) -> int | None:
        """N of `sample:N`; None for `all`."""
        return None if self.experts == "all" else int(self.experts.removeprefix("sample:"))


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """How each layer is measured (science.md)."""

    metrics: Metrics = "all"
    """`all`, or `tail`: norms and the power-law tail alone, the rest null; four times faster."""
    shuffle: ShuffleMode = "auto"
    """`full`: whole shuffled spectrum; `top`: only what leaves the bulk; `auto`: full up to m = 2,048."""
    replicates: int | Literal["auto"] = "auto"
    """Shuffles a layer; `auto`: 5 when m < 100, else 1, or up to 5 where the first lies near the
    threshold of the trap test or beyond it."""
    seed: int = 0
    """Enters every seeded choice beside tensor, part, expert, shape and replicate."""
    level: float = 0.01
    """Family-wise false-alarm level of the trap test, per matrix."""
    modes: bool = True
    """Carry each trap back to the original coordinates and fill the `traps` table."""
    incumbent: bool = True
    """Compute `num_traps_ww` by WeightWatcher's recipe."""
    farms: bool = False
    """Average alpha over fixed-aspect-ratio submatrices (FARMS, ICML 2025)."""
    alternatives: bool = False
    """Fit truncated power law, lognormal and exponential, with likelihood-ratio tests."""
    bootstrap: int = 0
    """Semi-parametric bootstrap draws for the goodness-of-fit p-value; 0: none."""
    clip_fingers: bool = False
    """Clip the largest eigenvalues when that lowers alpha by more than one ("fingers")."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`; values agree within the accuracy bar but for the draw of the shuffles
    (column `permutation`), so not part of the key."""

    def __post_init__(self) -> None:
        _one_of(get_args(Metrics), metrics=self.metrics)
        _one_of(get_args(ShuffleMode), shuffle=self.shuffle)
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", str(self.device)):
            raise UseError(f"device: got {self.device!r}; wanted 'auto', 'cpu', 'cuda' or 'cuda:N'")
        _at_least(0, seed=self.seed, bootstrap=self.bootstrap)
        if self.replicates != "auto":
            _at_least(1, replicates=self.replicates)
        if not 0.0 < self.level < 0.5:
            raise UseError(f"level: got {self.level!r}; wanted a false-alarm level in (0, 0.5)")

    @property
    def shuffle_mode(self) -> ShuffleMode:
        """`shuffle`, or `none` where nothing but the tail is wanted."""
        return "none" if self.metrics == "tail" else self.shuffle

    @property
    def fixed_replicates(self) -> int | None:
        """Shuffles a layer, where their number is fixed; None where the first one decides."""
        return None if self.replicates == "auto" else self.replicates

    def key_fields(self) -> dict[str, object]:
        """The fields that can move a stored number, for the analysis key."""
        fields = asdict(self)
        del fields["device"]
        return {_NAMES_IN_KEYS.get(name, name): value for name, value in fields.items()}


_NAMES_IN_KEYS = {"modes": "trap_modes", "alternatives": "tail_models"}
"""Fields whose name in the keys of stored units is an older one."""


def _one_of(choices: tuple[str, ...], **given: object) -> None:
    (name, value), words = next(iter(given.items())), ", ".join(map(repr, choices))
    if value not in choices:
        raise UseError(f"{name}: got {value!r}; wanted one of {words}")


def _at_least(lowest: int, **given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, int) or value < lowest:
            raise UseError(f"{name}: got {value!r}; wanted a whole number, {lowest} or more")
