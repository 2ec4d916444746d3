"""Which rows of a fused projection a model takes apart, seen while it runs.

The projection is made to give, in every channel, the number of that channel. Whatever the code then
cuts out of it, by whatever reshapes, is a set of row numbers: the rows that belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

_ONE_TO_ONE: Final = frozenset({"silu", "sigmoid", "gelu", "relu", "tanh", "softplus"})
"""Functions of single numbers: passed over, so that the row numbers stay what they are."""
_CUTS: Final = frozenset({"chunk", "split", "unbind", "tensor_split", "__getitem__"})


class _Recorder(TorchFunctionMode):
    """Notes the row numbers in whatever is cut out of a tensor of row numbers."""

    def __init__(self, num_rows: int) -> None:
        super().__init__()
        self.rows = num_rows
        self.sets: set[frozenset[int]] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _ONE_TO_ONE:
            return args[0]
        result = func(*args, **(kwargs or {}))
        if name == "conv1d" and result.shape[1] == args[0].shape[1]:  # of each channel by itself
            return args[0][..., :1].expand_as(result)
        if name in _CUTS:
            with torch._C.DisableTorchFunction():
                for piece in result if isinstance(result, tuple | list) else (result,):
                    self._note(piece)
        return result

    def _note(self, piece: object) -> None:
        if not isinstance(piece, torch.Tensor) or not piece.is_floating_point():
            return
        numbers = piece.detach().unique()
        is_a_part = 0 < len(numbers) < self.rows
        if is_a_part and numbers.min() >= 0 and numbers.max() < self.rows:
            if torch.equal(numbers, numbers.round()):
                self.sets.add(frozenset(int(number) for number in numbers))


def row_sets(
    model: torch.nn.Module, projection: str, run: Callable[[], object]
) -> set[frozenset[int]]:
    """Sets of rows of the projection at this path that the model takes apart when it runs."""
    module = model.get_submodule(projection)
    num_rows = int(_num_outputs(module))
    recorder = _Recorder(num_rows)

    def give_numbers(_: object, __: object, output: torch.Tensor) -> torch.Tensor:
        return torch.arange(num_rows, dtype=output.dtype).expand_as(output).clone()

    hook = module.register_forward_hook(give_numbers)
    try:
        with torch.no_grad(), recorder:
            run()
    finally:
        hook.remove()
    return recorder.sets


def _num_outputs(module: torch.nn.Module) -> int:
    """Channels of a linear layer, of torch or of GPT-2 (`nf`)."""
    return int(getattr(module, "out_features", None) or module.nf)  # type: ignore[arg-type]
