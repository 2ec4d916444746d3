"""Which projections of a module give several things at once: read from its source.

A projection is fused when the code cuts up what it gives: by `chunk`, `split`, `unbind`, by slices
of the last axis, or into several names. Reshaping does not cut.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Final

import torch

_CUTS: Final = frozenset({"chunk", "split", "unbind", "tensor_split"})
_RESHAPES: Final = frozenset(
    "view reshape transpose permute contiguous flatten unflatten squeeze unsqueeze float to type_as"
    " swapaxes movedim sigmoid tanh silu".split()
)
"""Calls whose result holds the same values, or one for each, in another order at most."""
_Names = frozenset[str]
_NONE: Final[_Names] = frozenset()


@cache
def chopped(owner: type[torch.nn.Module]) -> _Names:
    """Attributes of `owner` (projections) whose output one of its methods cuts up."""
    found: set[str] = set()
    for base in owner.__mro__:
        if ".models." not in base.__module__:
            continue  # torch's classes, and what all models inherit
        for name, method in vars(base).items():
            if name != "__init__" and inspect.isfunction(inspect.unwrap(method)):
                found |= _chopped_in(inspect.unwrap(method))
    return frozenset(found)


def _chopped_in(method: object) -> set[str]:
    try:
        source = textwrap.dedent(inspect.getsource(method))  # type: ignore[arg-type]
    except OSError:  # methods made at run time have no source
        return set()
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    reader = _Reader()
    reader.read(function.body)
    return reader.chopped


class _Reader:
    """Follows the outputs of `self.projection(...)` through assignments and reshapes."""

    def __init__(self) -> None:
        self.chopped: set[str] = set()
        self._held: dict[str, _Names] = {}

    def read(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            for node in _expressions(statement):
                self._origin(node)
            if isinstance(statement, ast.Assign):
                for target in statement.targets:
                    self._assign(target, statement.value)
            for block in ("body", "orelse", "finalbody"):
                inner = getattr(statement, block, None)
                if isinstance(inner, list):
                    self.read(inner)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._held[target.id] = self._origin(value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for name, part in zip(target.elts, value.elts, strict=False):
                self._assign(name, part)
        elif isinstance(target, ast.Tuple):
            is_map = isinstance(value, ast.GeneratorExp | ast.ListComp)
            origin = _NONE if is_map else self._origin(value)
            if not _is_module_call(value):
                self.chopped |= origin
            for name in target.elts:
                if isinstance(name, ast.Name):
                    self._held[name.id] = _NONE

    def _origin(self, node: ast.expr) -> _Names:
        """Projections whose output, reshaped at most, the expression is."""
        if isinstance(node, ast.Name):
            return self._held.get(node.id, _NONE)
        if isinstance(node, ast.Call):
            return self._of_call(node)
        if isinstance(node, ast.Subscript):
            origin = self._origin(node.value)
            if _takes_a_part(node.slice):
                self.chopped |= origin
                return _NONE
            return origin
        if isinstance(node, ast.Attribute):
            return _NONE
        if isinstance(node, ast.IfExp):
            return self._origin(node.body) | self._origin(node.orelse)
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.MatMult):  # a bias, a scale
            return self._origin(node.left) | self._origin(node.right)
        return _NONE

    def _of_call(self, node: ast.Call) -> _Names:
        function = node.func
        if not isinstance(function, ast.Attribute):
            return _NONE
        if isinstance(function.value, ast.Name) and function.value.id == "self":
            if function.attr.startswith(("_", "transpose_for", "reshape", "split", "fix", "shape")):
                held = [self._origin(argument) for argument in node.args]
                return frozenset().union(*held)
            return frozenset({function.attr})
        is_torch = isinstance(function.value, ast.Name) and function.value.id == "torch"
        if is_torch and not node.args:
            return _NONE
        origin = self._origin(node.args[0] if is_torch else function.value)
        if function.attr in _CUTS:
            self.chopped |= origin
            return _NONE
        return origin if function.attr in _RESHAPES else _NONE


def _is_module_call(node: ast.expr) -> bool:
    """A module called directly may give several values without any of them being a part."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "self"
        and not node.func.attr.startswith(("_", "transpose_for", "reshape", "split", "fix"))
    )


def _takes_a_part(index: ast.expr) -> bool:
    """True for `[..., n:]`, which has a counterpart `[..., :n]`, and for `[0]` after a reshape.

    `[..., :n]` alone leaves padding out.
    """
    if isinstance(index, ast.Constant) and isinstance(index.value, int):
        return True
    if not isinstance(index, ast.Tuple) or not index.elts:
        return False
    last = index.elts[-1]
    starts = isinstance(index.elts[0], ast.Constant) and index.elts[0].value is Ellipsis
    return starts and isinstance(last, ast.Slice) and last.lower is not None


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """All calls and subscripts in a statement, those in nested blocks left out."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.expr):
            for node in ast.walk(child):
                if isinstance(node, ast.Call | ast.Subscript):
                    yield node
