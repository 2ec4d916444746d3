"""What each tensor of a model is by its module: the truth that names and shapes are held against."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch.nn.modules.conv import _ConvNd

from tests.chopped_outputs import chopped

Kind = Literal[
    "linear", "convolution", "embedding", "recurrent", "stack", "buffer", "vector", "parameter"
]
_LISTS: Final = (torch.nn.ModuleList, torch.nn.Sequential, torch.nn.ModuleDict)

ATTENTION: Final = frozenset(
    "q k v o qkv kv q_a q_b kv_a kv_b o_a o_b attn_gate indexer relative_position decay r sampling"
    " cross_q cross_k cross_v cross_o cross_qkv cross_kv ssm_conv".split()
)
MLP: Final = frozenset(
    "gate up down gate_up mlp_in mlp_out mlp_hidden mlp_gate shared_gate shared_up shared_down"
    " shared_gate_up projection head".split()
)
EMBEDDING: Final = frozenset(
    "embedding position_embedding type_embedding relative_position parameter".split()
)
INPUT: Final = frozenset({"embedding", "patch_embedding", "conv", "projection"})
STATES: Final = frozenset({"ssm_in", "ssm_x", "ssm_dt", "ssm_out", "ssm_conv"})


@dataclass(frozen=True, slots=True)
class Truth:
    """One tensor of a state dict as its module sees it."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: Kind
    owner: str
    """Class of the module that has it, or has the projection that has it."""
    attribute: str
    """Name of that projection in the owner, or of the parameter."""
    roles: frozenset[str] | None
    """Roles that the owner's class allows; None: any."""
    is_fused: bool
    """True when the owner cuts up what the projection gives."""

    @property
    def where(self) -> str:
        """Owner and attribute, numbers as `#`: what a table of exceptions names."""
        return f"{self.owner}.{re.sub(r'[0-9]+', '#', self.attribute)}"


def truths(model: torch.nn.Module) -> Iterator[Truth]:
    """Every tensor of the state dict."""
    modules = dict(model.named_modules(remove_duplicate=False))
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    ends = _ends(model)
    for name, tensor in model.state_dict(keep_vars=True).items():
        path, _, leaf = name.rpartition(".")
        module = modules[path]
        kind = _kind(module, leaf, tensor, is_buffer=name in buffers)
        owner, attribute = _owner(path, leaf, modules, kind)
        is_matrix = kind in ("linear", "convolution", "embedding")
        yield Truth(
            name=name,
            shape=tuple(tensor.shape),
            dtype=tensor.dtype,
            kind=kind,
            owner=type(owner).__name__,
            attribute=attribute,
            roles=ends.get(id(module)) or _roles(type(owner).__name__, kind) if is_matrix else None,
            is_fused=kind == "linear" and attribute.split(".")[0] in chopped(type(owner)),
        )


def _kind(module: torch.nn.Module, leaf: str, tensor: torch.Tensor, *, is_buffer: bool) -> Kind:
    if is_buffer:
        return "buffer"
    if sum(size != 1 for size in tensor.shape) < 2 or re.search(r"(?:^|_)bias$", leaf):
        return "vector"
    if isinstance(module, torch.nn.RNNBase):
        return "recurrent"
    if leaf == "weight":
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D":
            return "linear"
        if isinstance(module, _ConvNd):
            return "convolution"
        if isinstance(module, torch.nn.Embedding):
            return "embedding"
    is_stack = type(module).__name__.endswith("Experts") and tensor.ndim == 3
    return "stack" if is_stack else "parameter"


def _owner(
    path: str, leaf: str, modules: dict[str, torch.nn.Module], kind: Kind
) -> tuple[torch.nn.Module, str]:
    """The module whose code calls the projection, lists of modules passed over."""
    if kind not in ("linear", "convolution", "embedding"):
        return modules[path], leaf
    before, _, attribute = path.rpartition(".")
    while isinstance(modules[before], _LISTS) and before:
        before, _, name = before.rpartition(".")
        attribute = f"{name}.{attribute}"
    return modules[before], attribute


def _ends(model: torch.nn.Module) -> dict[int, frozenset[str]]:
    """The modules that the model itself calls its input and output embeddings."""
    ends: dict[int, frozenset[str]] = {}
    for method, roles in (
        ("get_output_embeddings", frozenset({"lm_head", "embedding"})),
        ("get_input_embeddings", INPUT),
    ):
        try:
            module = getattr(model, method)()
        except (NotImplementedError, AttributeError):
            continue
        if module is not None:
            ends[id(module)] = roles
    return ends


def _roles(owner: str, kind: Kind) -> frozenset[str] | None:
    """Roles of a projection in a module of this class."""
    if kind == "embedding":
        return EMBEDDING
    if kind == "convolution":
        return None
    if "Indexer" in owner:
        return frozenset({"indexer"})
    if re.search(r"Attention$|Attn$|MLA$|SelfOutput$|DeltaNet$", owner):
        return ATTENTION
    if re.search(r"MLP$|FeedForward$|FFN$|Intermediate$", owner):
        return MLP
    if re.search(r"Mamba\w*Mixer$|MambaLayer$", owner):
        return STATES
    if re.search(r"Router$", owner):
        return frozenset({"router"})
    return None
