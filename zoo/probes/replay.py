"""Runs the rest of a network again and again without what lies in front of one of its modules.

What a network computes before a module is called does not depend on that module. One recorded pass
keeps the outputs of everything that has ended by then; in the passes after it these modules return
what they returned. Plain torch hooks and forwards: nothing of the network is rewritten, no weight is
touched, and whatever the network computes between its modules (residual sums, masks) runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

Forward = Callable[[], torch.Tensor]
"""Runs the network on some inputs and gives its logits."""


@dataclass(slots=True)
class Replay:
    """The outputs in front of the first call of one module, for one batch of inputs."""

    ahead: dict[torch.nn.Module, list[Any]] = field(default_factory=dict)
    """What has ended before that call: module -> its outputs, a call each."""
    logits: torch.Tensor | None = None
    """Of the whole pass."""
    num_calls: int = 0
    """How often the module was called; 0: the network does not use it."""

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Inside, what lies ahead returns what it returned; each entering is one pass."""
        with _swapped({module: _returning(module, kept) for module, kept in self.ahead.items()}):
            yield


def record(network: torch.nn.Module, target: torch.nn.Module, forward: Forward) -> Replay:
    """One whole pass of `forward`; what `network` computed before `target` is kept.

    Kept are the outermost modules that ended before the first call of `target`: their parts need not
    be. Of a module that is called again later, only the calls before count.
    """
    replay = Replay()
    running: list[torch.nn.Module] = []
    ended: list[tuple[int, torch.nn.Module, Any]] = []
    handles = []

    def enter(module: torch.nn.Module, _: object) -> None:
        running.append(module)
        if module is target:
            if replay.num_calls == 0:
                for _depth, before, output in ended:
                    replay.ahead.setdefault(before, []).append(output)
                ended.clear()
            replay.num_calls += 1

    def leave(module: torch.nn.Module, _: object, output: object) -> None:
        running.pop()
        if replay.num_calls:
            return
        depth = len(running)
        while ended and ended[-1][0] > depth:  # its parts: they come with it
            ended.pop()
        # a later step of this very pass may write into it (a residual added in place)
        ended.append((depth, module, tree_map_only(torch.Tensor, torch.clone, output)))

    for module in network.modules():
        if module is not network:
            handles.append(module.register_forward_pre_hook(enter))
            handles.append(module.register_forward_hook(leave))
    try:
        replay.logits = forward()
    finally:
        for handle in handles:
            handle.remove()
    if replay.num_calls == 0:
        replay.ahead.clear()
    return replay


def _returning(module: torch.nn.Module, outputs: list[Any]) -> Callable[..., Any]:
    """A forward that gives `outputs` call by call, and then runs the module's own."""
    own, left = module.forward, list(outputs)

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not left:
            return own(*args, **kwargs)
        # a later step may write into what it gets (an activation in place)
        return tree_map_only(torch.Tensor, torch.clone, left.pop(0))

    return forward


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
