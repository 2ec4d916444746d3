"""Where in a network a layer's matrix lies: the parameter that holds it, found by its values.

Names on disk and in the module differ from family to family, stacks and fusions come and go when a
checkpoint is loaded; the numbers stay. So a site is searched for by content: the parameter that
holds exactly these rows (or, transposed, these columns), nearest name first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Shaped


@dataclass(frozen=True, slots=True)
class Site:
    """A matrix inside a parameter of a network."""

    parameter: str
    """Qualified name of the parameter, or of one of those that share it."""
    index: int | None = None
    """Entry along the first axis of a stack of experts; None where there is none."""
    place: int | None = None
    """Place in the kernel of a convolution `[out, in, k...]`, counted in row-major order."""
    lines: torch.Tensor | None = None
    """Rows or columns of the stored matrix that make the layer, in its order; None: all."""
    axis: int = 0
    """Axis of the stored matrix that `lines` counts along."""
    is_transposed: bool = False
    """True when the parameter holds the layer's matrix transposed."""

    def stored(self, change: Shaped[torch.Tensor, "rows cols"]) -> torch.Tensor:
        """`change` of the layer's matrix as the parameter would hold it."""
        return change.T if self.is_transposed else change

    def add(self, parameter: torch.Tensor, change: Shaped[torch.Tensor, "rows cols"]) -> None:
        """Add `change` to the layer's matrix inside `parameter`, in place, rounded once."""
        held = self.view(parameter)
        moved = self.stored(change).to(held.device)
        if self.lines is None:
            held.copy_(held.float() + moved)
        elif self.axis == 0:
            held[self.lines] = (held[self.lines].float() + moved).to(held.dtype)
        else:
            held[:, self.lines] = (held[:, self.lines].float() + moved).to(held.dtype)

    def view(self, parameter: torch.Tensor) -> torch.Tensor:
        """The 2-D slice of `parameter` that the lines are taken from: a view."""
        if self.place is not None:
            return parameter.flatten(2)[:, :, self.place]
        return parameter if self.index is None else parameter[self.index]


def find_site(
    parameters: Mapping[str, torch.Tensor], matrix: torch.Tensor, *, name: str
) -> Site | None:
    """The site of `matrix` [rows, cols] among `parameters`; None where no parameter holds it.

    `name`: what the tensor is called on disk; parameters of a like name are looked at first. A matrix
    that occurs twice is taken where the name is nearest.
    """
    for candidate in sorted(parameters, key=lambda other: -_likeness(name, other)):
        parameter = parameters[candidate]
        wanted = matrix.to(parameter.dtype).to(parameter.device)
        for index, place, held in _matrices(parameter, wanted):
            for axis, is_transposed in ((0, False), (1, False), (0, True), (1, True)):
                lines = _lines(
                    held.T if axis else held,
                    wanted.T if is_transposed != (axis == 1) else wanted,
                )
                if lines is not None:
                    is_all = torch.equal(lines, torch.arange(held.shape[axis]))
                    return Site(
                        candidate, index, place, None if is_all else lines, axis, is_transposed
                    )
    return None


def _matrices(
    parameter: torch.Tensor, wanted: torch.Tensor
) -> Iterator[tuple[int | None, int | None, torch.Tensor]]:
    """(entry of a stack, place in a kernel, matrix) of everything in a parameter that could be it."""
    rows, cols = wanted.shape
    if parameter.ndim == 2:
        yield None, None, parameter
    elif parameter.ndim == 3 and {rows, cols} & {*parameter.shape[1:]}:
        for index in range(parameter.shape[0]):
            yield index, None, parameter[index]
    if parameter.ndim >= 3 and tuple(parameter.shape[:2]) == (rows, cols):
        flat = parameter.flatten(2)
        for place in range(flat.shape[2]):
            yield None, place, flat[:, :, place]


def _lines(stored: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor | None:
    """The rows of `stored` that are the rows of `wanted`, in order; None where one is missing."""
    if stored.shape[1] != wanted.shape[1] or len(stored) < len(wanted):
        return None
    if stored.shape == wanted.shape:
        return torch.arange(len(stored)) if bool((stored == wanted).all()) else None
    keys: dict[bytes, list[int]] = {}
    for number, row in enumerate(_bytes(stored)):
        keys.setdefault(row, []).append(number)
    lines: list[int] = []
    for row in _bytes(wanted):
        numbers = keys.get(row)
        if not numbers:
            return None
        lines.append(numbers.pop(0) if len(numbers) > 1 else numbers[0])
    return torch.tensor(lines) if len(set(lines)) == len(lines) else None


def _bytes(matrix: torch.Tensor) -> Iterator[bytes]:
    """The stored bytes of every row."""
    raw = matrix.detach().cpu().contiguous().view(torch.uint8).numpy()
    return (row.tobytes() for row in raw)


def _likeness(name: str, other: str) -> int:
    """Number of trailing words that two names share, `weight` left out."""
    ours, theirs = (
        [word for word in text.split(".") if word != "weight"][::-1] for text in (name, other)
    )
    shared = 0
    for a, b in zip(ours, theirs, strict=False):
        if a != b:
            break
        shared += 1
    return shared
