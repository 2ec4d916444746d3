"""How many equal matrices an accelerator solves together: from their shape and the card's memory alone.

Batched and single solves differ in the last bits, so a layer's batch must follow from the model and the card,
never from what memory is left or which worker is free. The table below was measured on one H100 80GB (cuSOLVER 12,
float64, `cusolverDnXsyevBatched` against one `torch.linalg.eigvalsh` at a time, milliseconds a matrix):

    order   batch               batched                one by one   workspace, GB
      128   1,024               0.01                    0.78         1.6
      384   256                 0.20                    3.4          1.5
      768   64 / 256            1.24 / 0.96             7.6          1.2 / 4.8
    1,024   32 / 256            2.8 / 1.8              10.3          1.0 / 8.3
    2,048   16 / 64             18.6 / 10.5            25.7          2.0 / 8.1
    2,880   4 / 8 / 16 / 32 / 64   92 / 49 / 34 / 27 / 24.9   53.7   1 / 2 / 4 / 8 / 16
    4,096   16                  76                    117            8.1

A batch takes about as long as seven single solves however small it is: a few large matrices go one by one. Knows no
device: pure arithmetic, which a plan made from headers can use.
"""

from __future__ import annotations

_CLASSES_GB = (80, 40, 24, 16, 8)
"""Memory classes of cards in GB. A card counts as the largest class it has nine tenths of (an "80 GB" card
offers 79 to 85)."""
_SOLVER_SHARE = 0.21
"""Share of the class that the workspace of a batched solve may take; the rest is for the matrices, their Gram
matrices, their shuffles, and the next batch that is on its way."""
_FILLED = 0.7
"""Share of the class that a batch takes at most, with the matrices of the next one that are arriving."""
_WORKSPACE_PER_ENTRY = 30.5
"""Bytes of the solver's workspace per entry of a Gram matrix, beside `_WORKSPACE_FIXED`: read off the table."""
_WORKSPACE_FIXED = 1.1e6
"""Bytes of workspace a matrix that do not grow with it."""
_MOST = ((128, 1024), (1024, 256), (4096, 64))
"""(largest order, matrices a batch at most): beyond these a larger batch was not measured or gained nothing."""
_FEWEST = ((1024, 4), (4096, 8))
"""(largest order, matrices from which on the batched solver is the faster one)."""
_BATCHED_UP_TO = 4096
"""Larger orders are solved one by one: not measured in batches, and the gain shrinks with the order."""
_MOST_GRAM_ENTRIES = 2**31 - 1
"""cuSOLVER counts the entries of a whole batch in 32-bit integers."""
_SORT_BYTES = 48
"""Bytes an entry while one matrix is shuffled: 64-bit keys, their order, and both again where a sort puts them."""


def memory_class(nbytes: int) -> int:
    """The memory class, in GB, of a card with `nbytes` of memory in all, or of a worker's share of it.

    0 for one too small for any class: everything is then solved one by one.
    """
    return next((size for size in _CLASSES_GB if nbytes >= 0.9 * size * 1e9), 0)


def batch_size(order: int, memory_class: int, *, longer: int | None = None) -> int:
    """Matrices of smaller side `order` that one batch holds, a power of two; 1: they are solved one by one.

    `longer`: the longer side; `order` when left out. `memory_class`: see the function of that name.
    """
    longer = order if longer is None else longer
    if order < 1 or order > _BATCHED_UP_TO or memory_class <= 0:
        return 1
    most = min(
        next(size for largest, size in _MOST if order <= largest),
        int(_SOLVER_SHARE * memory_class * 1e9 / workspace_bytes(order)),
        _MOST_GRAM_ENTRIES // order**2,
    )
    while most > 1 and device_bytes(most, order, longer) > _FILLED * memory_class * 1e9:
        most //= 2
    size = 1
    while 2 * size <= most:
        size *= 2
    return size


def is_batched(count: int, order: int) -> bool:
    """True where `count` matrices of smaller side `order` are solved faster together than one by one."""
    if order > _BATCHED_UP_TO:
        return False
    return count >= next(fewest for largest, fewest in _FEWEST if order <= largest)


def workspace_bytes(order: int) -> float:
    """Bytes of the batched solver's workspace for each matrix of this order."""
    return _WORKSPACE_PER_ENTRY * order**2 + _WORKSPACE_FIXED


def device_bytes(count: int, order: int, longer: int, *, itemsize: int = 2) -> int:
    """Most bytes that `count` matrices take on the card while they are measured and as many others arrive.

    `itemsize`: bytes of a stored number. Counted: the matrices and their shuffles as stored, the Gram matrices and the
    workspace of the solver, blocks in float64, one matrix being sorted, and the next batch as stored.
    """
    entries = order * longer
    each = 3 * itemsize * entries + 8 * order**2 + workspace_bytes(order)
    return int(count * each + BLOCK_BYTES * 3 + _SORT_BYTES * entries)


BLOCK_BYTES = 1 << 28
"""Entries are converted to float64 in blocks of about this size."""
