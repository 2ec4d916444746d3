"""Fused projections: which rows or columns of a stored matrix belong to which part.

A layout is only applied when its sizes add up to the matrix exactly; otherwise the answer is a
`Whole` with the reason, and the matrix is analysed as stored. Layouts: `transformers` modelling
code of the named families, torch documentation for recurrent layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from zoo.layers.settings import Settings
from zoo.layers.spec import Cut


@dataclass(frozen=True, slots=True)
class Part:
    """One matrix in a fused tensor."""

    name: str
    """`q`, `k`, `v`, `gate`, `up`, `i`, ..."""
    cut: Cut
    """Which rows or columns of the tensor it is."""
    rows: int
    cols: int


@dataclass(frozen=True, slots=True)
class Whole:
    """A tensor that stays one layer."""

    note: str | None
    """Why a fused tensor could not be split; None when it is not fused."""


Split = tuple[Part, ...] | Whole
"""The parts of a tensor, or the reason why it is kept whole."""

_PER_HEAD: Final = frozenset({"gpt_neox", "gpt_neox_japanese", "bloom", "persimmon", "fuyu"})
"""Model types that store query, key and value of one head together."""
_FALCON: Final = frozenset({"falcon", "RefinedWeb", "RefinedWebModel"})
"""Model types of Falcon, which has three layouts."""
_KNOWN_MAMBA: Final = frozenset(
    {"", "mamba", "falcon_mamba", "jamba", "mamba2", "bamba", "nemotron_h", "granitemoehybrid"}
    | {"falcon_h1", "zamba2"}
)
"""Model types whose input projection has Mamba's layout or Mamba-2's; empty: not declared."""
_GATES: Final = {4: "ifgo", 3: "rzn"}
"""Names of the gates of a recurrent layer by their number: of an LSTM, of a GRU."""


def split_matrix(
    module: str,
    role: str,
    shape: tuple[int, int],
    settings: Settings,
    shapes: Mapping[str, tuple[int, ...]],
) -> Split:
    """Parts of a 2-D tensor. `shapes` holds every tensor of the model by module path."""
    leaf = module.rpartition(".")[2]
    base = role.removeprefix("cross_").removeprefix("shared_")
    if base == "qkv":
        return _qkv(leaf, shape, settings)
    if base == "kv":
        return _kv(leaf, shape)
    if base == "gate_up":
        return _gate_up(module, leaf, shape, shapes)
    if role == "mlp_in" or leaf == "ffn_up":
        return _geglu(module, leaf, shape, settings, shapes)
    if role in ("rnn_in", "rnn_hidden"):
        return _gates(module, leaf, shape, shapes)
    if role == "ssm_in":
        return _mamba(module, shape, settings, shapes)
    return Whole(None)


def pieces(
    shape: tuple[int, int], axis: int, sizes: Mapping[str, int], *, groups: int = 1
) -> tuple[Part, ...]:
    """Consecutive parts of the given sizes, in each of `groups` equal groups along `axis`."""
    parts, start = [], 0
    for name, size in sizes.items():
        length = size * groups
        rows, cols = (length, shape[1]) if axis == 0 else (shape[0], length)
        cut = Cut(axis=axis, groups=groups, start=start, stop=start + size)
        parts.append(Part(name, cut, rows, cols))
        start += size
    return tuple(parts)


def _qkv(leaf: str, shape: tuple[int, int], settings: Settings) -> Split:
    """Query, key and value, in the layout of the model's family."""
    kind = settings.model_type
    if leaf == "query_key_value":
        if kind in _PER_HEAD:
            return _per_head(shape, settings)
        if kind in _FALCON:
            return _falcon(shape, settings)
        if kind == "chatglm" and settings.flag("multi_query_attention"):
            groups = settings.count("multi_query_group_num")
            return _contiguous(shape, settings, kv_heads=groups)
        return Whole(f"fused_whole: layout of query_key_value in {kind or 'an unnamed model'}")
    if leaf == "wqkv":
        if kind == "internlm2":
            return _grouped(shape, settings)
        return Whole(f"fused_whole: layout of wqkv in {kind or 'an unnamed model'}")
    if kind == "gpt_bigcode" and leaf == "c_attn":
        if settings.flag("multi_query", default=True):
            return _contiguous(shape, settings, kv_heads=1)
        return _per_head(shape, settings)
    if kind == "minimax" and leaf == "qkv_proj":
        return _per_head(shape, settings)
    if kind == "codegen" and leaf == "qkv_proj":
        if shape[0] != 3 * shape[1] or shape[0] % 12:
            return _misfit(shape, "codegen", 3 * shape[1])
        size = shape[0] // 12
        return pieces(shape, 0, {"q": size, "v": size, "k": size}, groups=4)
    return _contiguous(shape, settings, kv_heads=settings.kv_heads)


def _contiguous(shape: tuple[int, int], settings: Settings, *, kv_heads: int | None) -> Split:
    """All queries, then all keys, then all values, along rows (Linear) or columns (GPT-2)."""
    heads, dim = settings.heads, settings.head_dim
    if heads is not None and kv_heads is not None and dim is not None:
        sizes = {"q": heads * dim, "k": kv_heads * dim, "v": kv_heads * dim}
        total = sum(sizes.values())
        axes = [axis for axis in (0, 1) if shape[axis] == total]
        if len(axes) == 2:
            axes = [axis for axis in axes if shape[1 - axis] == settings.hidden][:1]
        if axes:
            return pieces(shape, axes[0], sizes)
        if kv_heads != heads:
            return _misfit(shape, settings.model_type or "the config", total)
    for axis in (0, 1):
        width = shape[1 - axis]
        if shape[axis] == 3 * width and width:
            return pieces(shape, axis, dict.fromkeys("qkv", width))
    return Whole(f"fused_whole: {list(shape)} is not three times as long as wide, no sizes known")


def _per_head(shape: tuple[int, int], settings: Settings) -> Split:
    """For each head its query, key and value rows (NeoX, BLOOM)."""
    heads = settings.heads
    if heads is None or shape[0] % (3 * heads) or shape[0] == 0:
        return _misfit(shape, f"{heads} heads", None)
    dim = settings.head_dim
    if dim is not None and dim * heads * 3 != shape[0]:
        return _misfit(shape, f"{heads} heads of {dim}", 3 * heads * dim)
    return pieces(shape, 0, dict.fromkeys("qkv", shape[0] // (3 * heads)), groups=heads)


def _falcon(shape: tuple[int, int], settings: Settings) -> Split:
    """Falcon's three layouts: grouped (40B), multi-query (7B), per head (the first ones)."""
    if settings.flag("new_decoder_architecture", default=settings.count("n_head_kv") is not None):
        return _grouped(shape, settings)  # configs of falcon-40b's own code do not say it
    if settings.flag("multi_query", default=True):
        return _contiguous(shape, settings, kv_heads=1)
    return _per_head(shape, settings)


def _grouped(shape: tuple[int, int], settings: Settings) -> Split:
    """For each key-value head its queries, its key and its value (Falcon 40B, InternLM2)."""
    heads, kv_heads, dim = settings.heads, settings.kv_heads, settings.head_dim
    if heads is None or kv_heads is None or dim is None or heads % kv_heads:
        return _misfit(shape, f"{heads} heads, {kv_heads} key-value heads", None)
    if shape[0] != (heads + 2 * kv_heads) * dim:
        return _misfit(shape, settings.model_type, (heads + 2 * kv_heads) * dim)
    sizes = {"q": heads // kv_heads * dim, "k": dim, "v": dim}
    return pieces(shape, 0, sizes, groups=kv_heads)


def _kv(leaf: str, shape: tuple[int, int]) -> Split:
    """Key and value of cross-attention."""
    if leaf == "c_attn" and shape[1] == 2 * shape[0]:
        return pieces(shape, 1, dict.fromkeys("kv", shape[0]))
    if leaf == "to_kv" and shape[0] % 2 == 0 and shape[0]:
        return pieces(shape, 0, dict.fromkeys("kv", shape[0] // 2))
    return Whole(f"fused_whole: layout of {leaf} {list(shape)}")


_DOWN_OF: Final = {
    "gate_up_proj": "down_proj", "w12": "w3", "weights_in": "weights_out", "Wi": "Wo",
    "input_linear": "output_linear",
}  # fmt: skip
"""The name of the down projection beside a gate-and-up projection of this name."""


def _gate_up(
    module: str, leaf: str, shape: tuple[int, int], shapes: Mapping[str, tuple[int, ...]]
) -> Split:
    """Gate above up; checked against the width of the down projection beside it."""
    if leaf not in _DOWN_OF:
        return Whole(f"fused_whole: order of the halves of {leaf}")
    down = shapes.get(module[: -len(leaf)] + _DOWN_OF[leaf])
    if down is not None and len(down) == 2 and shape[0] != 2 * down[1]:
        return _misfit(shape, _DOWN_OF[leaf], 2 * down[1])
    if shape[0] % 2 or shape[0] == 0:
        return _misfit(shape, "two halves", None)
    return pieces(shape, 0, {"gate": shape[0] // 2, "up": shape[0] // 2})


def _geglu(
    module: str,
    leaf: str,
    shape: tuple[int, int],
    settings: Settings,
    shapes: Mapping[str, tuple[int, ...]],
) -> Split:
    """An input projection that turns out twice as wide as the output projection reads."""
    if module.endswith("ff.net.0.proj"):  # diffusers GEGLU: hidden first, gate second
        names, down = ("up", "gate"), shapes.get(module.replace("ff.net.0.proj", "ff.net.2"))
    elif leaf == "dense_h_to_4h" and settings.model_type == "chatglm":
        names, down = ("gate", "up"), shapes.get(module.replace("h_to_4h", "4h_to_h"))
    elif leaf == "ffn_up" and module.replace("ffn_up", "ffn_gate") not in shapes:
        names, down = ("gate", "up"), shapes.get(module.replace("ffn_up", "ffn_down"))  # llama.cpp
    else:
        return Whole(None)
    if down is None or len(down) != 2 or shape[0] != 2 * down[1] or shape[0] == 0:
        return Whole(None)
    return pieces(shape, 0, dict.fromkeys(names, down[1]))


def _gates(
    module: str, leaf: str, shape: tuple[int, int], shapes: Mapping[str, tuple[int, ...]]
) -> Split:
    """LSTM (input, forget, cell, output) or GRU (reset, update, new) gates; torch's order."""
    before = module[: -len(leaf)]
    tail = leaf[len("weight_ih") :]
    hidden_weight = shapes.get(f"{before}weight_hh{tail}")
    if hidden_weight is None or len(hidden_weight) != 2:
        return Whole("fused_whole: weight_hh is not in the checkpoint")
    projected = shapes.get(f"{before}weight_hr{tail}")
    hidden = projected[1] if projected is not None and len(projected) == 2 else hidden_weight[1]
    ratio = hidden_weight[0] // hidden if hidden and hidden_weight[0] % hidden == 0 else 0
    if ratio == 1:
        return Whole(None)
    if ratio not in _GATES or shape[0] != ratio * hidden:
        return _misfit(shape, f"{hidden} hidden units", None)
    return pieces(shape, 0, dict.fromkeys(_GATES[ratio], hidden))


def _mamba(
    module: str,
    shape: tuple[int, int],
    settings: Settings,
    shapes: Mapping[str, tuple[int, ...]],
) -> Split:
    """Mamba: x, z. Mamba-2: z, x, B, C, dt; sizes from the tensors beside it."""
    if settings.model_type not in _KNOWN_MAMBA:
        return Whole(f"fused_whole: layout of in_proj in {settings.model_type}")
    before = module[: -len("in_proj")]
    conv, out = shapes.get(f"{before}conv1d"), shapes.get(f"{before}out_proj")
    decay = shapes.get(f"{before}A_log")
    if conv is None or out is None or decay is None or len(out) != 2:
        return Whole("fused_whole: conv1d, out_proj or A_log is not in the checkpoint")
    inner = out[1]
    if conv[0] == inner and shape[0] == 2 * inner:
        return pieces(shape, 0, {"x": inner, "z": inner})
    state, odd = divmod(conv[0] - inner, 2)
    if len(decay) != 1 or odd or state <= 0 or shape[0] != inner + conv[0] + decay[0]:
        return _misfit(shape, f"{inner} channels", None)
    sizes = {"z": inner, "x": inner, "B": state, "C": state, "dt": decay[0]}
    return pieces(shape, 0, sizes)


def _misfit(shape: tuple[int, int], what: str, total: int | None) -> Whole:
    """The reason that the sizes of `what`, which add up to `total`, do not fit the matrix."""
    expected = "" if total is None else f", wanted {total}"
    return Whole(f"fused_whole: {list(shape)} does not fit {what}{expected}")
