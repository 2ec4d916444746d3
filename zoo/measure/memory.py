"""The memory that measuring a weight takes, and what to say when there is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zoo.errors import ResourceError
from zoo.formats.weight import Weight
from zoo.machine.memory import is_shortage, process_limit

_FIXED_BYTES = 1 << 30
"""Of a worker beside its matrices: libraries, blocks, the heap."""


def peak_bytes(numel: int) -> int:
    """Most bytes that a worker takes for a matrix of `numel` values: three times its float32 size and
    1 GiB. What it is planned by, and what is guaranteed."""
    return 3 * 4 * numel + _FIXED_BYTES


@contextmanager
def naming_shortage(weight: Weight, numel: int) -> Iterator[None]:
    """Errors for want of memory become a ResourceError that names the weight and says what it takes.

    A library names the allocation that failed, however small: not what was measured, nor what to do.
    `numel`: values of the weight that are held at a time.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ResourceError) as error:
        if not (is_shortage(error) or isinstance(error, ResourceError)):
            raise
        raise ResourceError(shortage(weight.name, weight.shape, numel)) from error


def shortage(name: str, shape: tuple[int, ...], numel: int) -> str:
    """What to say when `numel` values of a weight did not find room."""
    limit, wanted = process_limit(), peak_bytes(numel)
    sides = " x ".join(map(str, shape))
    said = (
        f"not enough memory for {name!r} ({sides}, {_gb(4 * numel)} in float32): measuring it takes up "
        f"to {_gb(wanted)} (three times that and 1.1 GB); this process may take {_gb(limit.nbytes)} "
        f"({limit.set_by})"
    )
    if wanted > limit.nbytes:
        todo = "Give it more (a larger machine, container or ulimit -v)"
    else:
        todo = "Others took the rest: use fewer --workers, or run it when the machine is free"
    return f"{said}. {todo}, or leave it out: [layers] exclude = [{name!r}]"


def _gb(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
