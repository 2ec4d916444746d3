"""Behind its last mixing of positions a network runs at the last position alone, where only that is compared.

The last block of a language model mixes positions in its attention; its output projection, its
perceptron, the last norm and the head map each position by itself. With one position compared, the
others need not go through them: of a small network with a large vocabulary that is a third of a pass.

Where the mixing ends is found by trying: the longest run of modules, counted from the end, that may be
given the last position alone without moving the logits there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from zoo.probes.network import Inputs, Network, UnprobeableError

_TRIED = 3
"""Probes that the logits are compared on."""
_ROUNDINGS = 4
"""A logit may move by so many units of rounding of the largest one."""


@contextmanager
def trimmed(network: Network) -> Iterator[None]:
    """Inside, the logits of the last position cost less. Nothing happens where all are compared, where
    there is one only, and where nothing can be saved."""
    handles = [_trimming(module) for module in _behind_the_mixing(network)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _behind_the_mixing(network: Network) -> Sequence[torch.nn.Module]:
    """Modules that may be given the last position alone, in the order of their calls."""
    if network.position != "last":
        return ()
    inputs = network.sample(_TRIED)
    try:
        shape = network.output(inputs).shape
        if len(shape) != 3 or shape[1] < 2:
            return ()
        wanted = network.logits(inputs)
    except UnprobeableError:
        return ()  # the probes themselves will say why
    candidates = _called_once(network, inputs, shape[1])
    # the first of them that may begin the run: everything from `good` on is known to be fine
    bad, good = -1, len(candidates)
    while good - bad > 1:
        middle = (good + bad) // 2
        if _is_same(network, candidates[middle:], inputs, wanted):
            good = middle
        else:
            bad = middle
    return candidates[good:]


def _called_once(network: Network, inputs: Inputs, length: int) -> list[torch.nn.Module]:
    """Modules called once with [probes, `length`, ...], behind the last one that is called more often."""
    called: list[tuple[torch.nn.Module, bool]] = []

    def note(module: torch.nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = args[0] if args else kwargs.get("hidden_states")
        is_sequence = (
            isinstance(given, torch.Tensor) and given.ndim >= 3 and given.shape[1] == length
        )
        called.append((module, is_sequence))

    handles = [
        module.register_forward_pre_hook(note, with_kwargs=True)
        for module in network.module.modules()
        if module is not network.module
    ]
    try:
        network.output(inputs)
    finally:
        for handle in handles:
            handle.remove()
    often = Counter(module for module, _ in called)
    last = max((i for i, (module, _) in enumerate(called) if often[module] > 1), default=-1)
    return [module for module, is_sequence in called[last + 1 :] if is_sequence]


def _is_same(
    network: Network,
    modules: Sequence[torch.nn.Module],
    inputs: Inputs,
    wanted: torch.Tensor,
) -> bool:
    handles = [_trimming(module) for module in modules]
    try:
        got = network.logits(inputs)
    except UnprobeableError:
        return False
    finally:
        for handle in handles:
            handle.remove()
    if got.shape != wanted.shape:
        return False
    most = _ROUNDINGS * torch.finfo(wanted.dtype).eps * float(wanted.abs().max())
    return bool(((got - wanted).abs() <= 8 * most).all()) and bool(
        (got - wanted).abs().double().mean() <= most
    )


def _trimming(module: torch.nn.Module) -> Any:
    """The hook that gives a module the last position alone."""

    def last(
        _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (_last(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": _last(kwargs["hidden_states"])}

    add: Callable[..., Any] = module.register_forward_pre_hook
    return add(last, with_kwargs=True)


def _last(values: torch.Tensor) -> torch.Tensor:
    return values[:, -1:]
