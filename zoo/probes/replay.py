"""Runs the rest of a network again and again without what one of its modules has no say in.

What a network computes before a module is called does not depend on that module; nor does what a
later module makes of such values alone (the keys beside an ablated query, the keys and values that a
decoder takes from its encoder). One recorded pass keeps these outputs; in the passes after it the
modules return what they returned. Plain torch hooks and forwards: nothing of the network is rewritten,
no weight is touched, and whatever the network computes between its modules (residual sums, masks) runs
as it is.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

Forward = Callable[[], torch.Tensor]
"""Runs the network on some inputs and gives its logits."""
Kept = dict[torch.nn.Module, dict[int, Any]]
"""By module and number of its call in a replayed pass, from 0."""


@dataclass(slots=True)
class Replay:
    """What does not depend on one module, for one batch of inputs."""

    kept: Kept = field(default_factory=dict)
    """Outputs."""
    logits: torch.Tensor | None = None
    """Of the whole pass."""
    num_calls: int = 0
    """How often the module was called; 0: the network does not use it."""
    taken: list[torch.Size] = field(default_factory=list)
    """Shape of the first input of the module, call by call."""
    largest_bytes: int = 0
    """Of the outputs of all modules, in this pass."""

    @property
    def num_bytes(self) -> int:
        """Memory of what is kept."""
        outputs = [output for calls in self.kept.values() for output in calls.values()]
        tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
        return sum(leaf.nbytes for leaf in tensors) + (
            0 if self.logits is None else self.logits.nbytes
        )

    @contextmanager
    def replayed(self, times: int = 1, batched: Kept | None = None) -> Iterator[None]:
        """Inside, what does not depend on the module returns what it returned; each entering is one pass.

        `times`: the inputs of the pass are the recorded ones so often, one after the other; then
        `batched` says of each kept tensor whether its first axis counts the probes.
        """
        forwards = {
            module: _returning(
                module, calls, times, {} if batched is None else batched.get(module, {})
            )
            for module, calls in self.kept.items()
        }
        with _swapped(forwards):
            yield


class _Earlier:
    """The tensors that were there before the module was called, as long as nobody writes into them."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], weakref.ref[torch.UntypedStorage]] = {}

    def add(self, values: object) -> None:
        """Note every tensor in `values`."""
        for leaf in tree_leaves(values):
            if isinstance(leaf, torch.Tensor):
                self._known[_identity(leaf)] = weakref.ref(leaf.untyped_storage())

    def has_all(self, values: object) -> bool:
        """True when `values` are noted tensors, one at least, and plain numbers and words."""
        leaves = tree_leaves(values)
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        return bool(tensors) and all(
            self._has(leaf)
            if isinstance(leaf, torch.Tensor)
            else leaf is None or isinstance(leaf, bool | int | float | str | torch.dtype)
            for leaf in leaves
        )

    def _has(self, tensor: torch.Tensor) -> bool:
        storage = self._known.get(_identity(tensor))
        return storage is not None and storage() is not None


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    """Where the values of a tensor lie, and how often they were written."""
    return (
        tensor.untyped_storage()._cdata, tensor.storage_offset(), tensor.numel(), tensor.dtype,
        tensor._version,
    )  # fmt: skip


class _Recorder:
    """Hooks of a recorded pass."""

    def __init__(self, target: torch.nn.Module, *, keeps_own: bool) -> None:
        self.replay = Replay()
        self._target = target
        self._keeps_own = keeps_own
        self._around = {id(module) for module in target.modules()}
        self._running: list[torch.nn.Module] = []
        self._ended: list[tuple[int, torch.nn.Module, Any]] = []
        self._earlier = _Earlier()
        self._calls: Counter[torch.nn.Module] = Counter()
        """Calls that a replayed pass makes, too."""
        self._beside: tuple[int, torch.nn.Module, int] | None = None
        """Depth, module and call of one that runs now and does not depend on the target."""

    def enter(
        self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Before a module runs."""
        self._running.append(module)
        replay = self.replay
        if replay.num_calls == 0:
            self._earlier.add((args, kwargs))
        elif self._beside is None:
            number = self._calls[module]
            self._calls[module] += 1
            if self._earlier.has_all((args, kwargs)) and not self._holds_target(module):
                self._beside = (len(self._running), module, number)
        if module is self._target:
            if replay.num_calls == 0:
                for _depth, before, output in self._ended:
                    replay.kept.setdefault(before, {})[self._calls[before]] = output
                    self._calls[before] += 1
                self._ended.clear()
                self._calls.update(self._running)
            replay.num_calls += 1
            taken = args[0] if args else next(iter(kwargs.values()), None)
            replay.taken.append(taken.shape if isinstance(taken, torch.Tensor) else torch.Size([]))

    def leave(self, module: torch.nn.Module, _: object, output: object) -> None:
        """After a module has run."""
        self._running.pop()
        replay, depth = self.replay, len(self._running)
        for leaf in tree_leaves(output):
            if isinstance(leaf, torch.Tensor):
                replay.largest_bytes = max(replay.largest_bytes, leaf.nbytes)
        if replay.num_calls == 0:
            self._earlier.add(output)
            while self._ended and self._ended[-1][0] > depth:  # its parts: they come with it
                self._ended.pop()
            self._ended.append((depth, module, _copied(output)))
        elif module is self._target and self._keeps_own and replay.num_calls == 1:
            replay.kept.setdefault(module, {})[0] = _copied(output)
        elif self._beside is not None and self._beside[:2] == (depth + 1, module):
            replay.kept.setdefault(module, {})[self._beside[2]] = _copied(output)
            self._beside = None

    def _holds_target(self, module: torch.nn.Module) -> bool:
        return any(part is self._target for part in module.modules()) or id(module) in self._around


def record(
    network: torch.nn.Module,
    target: torch.nn.Module,
    forward: Forward,
    *,
    keeps_own: bool = False,
) -> Replay:
    """One whole pass of `forward`; what in `network` does not depend on `target` is kept.

    Kept are the outermost modules that ended before the first call of `target` (of one that is called
    again later, only the calls before count), and those called after it with nothing but values that
    were there before it. `keeps_own`: also the output of the first call of `target` itself, to which a
    hook adds what changes.
    """
    recorder = _Recorder(target, keeps_own=keeps_own)
    handles = []
    for module in network.modules():
        if module is not network:
            handles.append(module.register_forward_pre_hook(recorder.enter, with_kwargs=True))
            handles.append(module.register_forward_hook(recorder.leave))
    try:
        recorder.replay.logits = forward()
    finally:
        for handle in handles:
            handle.remove()
    if recorder.replay.num_calls == 0:
        recorder.replay.kept.clear()
    return recorder.replay


def _copied(output: Any) -> Any:
    """A later step of the very same pass may write into it (a residual added in place)."""
    return tree_map_only(torch.Tensor, torch.clone, output)


def _returning(
    module: torch.nn.Module,
    outputs: Mapping[int, Any],
    times: int,
    batched: Mapping[int, Any],
) -> Callable[..., Any]:
    """A forward that gives `outputs` where it has them, and else runs the module's own."""
    own = module.forward
    number = -1

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal number
        number += 1
        if number not in outputs:
            return own(*args, **kwargs)
        if times == 1:
            return _copied(outputs[number])
        return tree_map(
            lambda leaf, is_batched: _repeated(leaf, times if is_batched else 1),
            outputs[number],
            batched[number],
        )

    return forward


def _repeated(leaf: Any, times: int) -> Any:
    """A tensor so often along its first axis; anything else as it is."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return leaf.repeat(times, *[1] * (leaf.ndim - 1)) if times > 1 else leaf.clone()


@contextmanager
def _swapped(forwards: dict[torch.nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Give modules another `forward`, and take it back."""
    before = {module: module.__dict__.get("forward") for module in forwards}
    for module, forward in forwards.items():
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        for module, own in before.items():
            if own is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own
