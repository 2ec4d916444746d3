"""What reads the output of a projection: the matrix beside it whose width tells halves apart.

A gated layer stores two matrices in one tensor, so it has twice the rows that its reader has
columns. That is seen without a config; in which order the halves lie is not.
"""

from __future__ import annotations

from typing import Final

from zoo.layers.parts import Shapes, matrix_of

_OUTPUTS_OF_ATTENTION: Final = (
    "o_proj", "out_proj", "proj", "c_proj", "dense", "to_out.0", "to_out", "Wo", "wo", "o", "output",
    "out_lin", "projection", "attn_output", "attn_out", "linear_out", "linear_proj",
    "projection_layer",
)  # fmt: skip
"""Names of the output projection beside the queries, keys and values of an attention block."""

_OUTPUT_OF: Final = {
    "proj_1": "proj_2", "gated_layers": "wo", "up_gated_layer": "down_layer",
    "gate_up_proj": "down_proj", "gate_up_projs": "down_projs", "up_gate_proj": "down_proj",
    "gate_and_up_proj": "down_proj", "w12": "w3", "weights_in": "weights_out",
    "gate_and_up_projs": "down_projs", "w13_weight": "w2_weight", "shared_w13_weight": "shared_w2_weight",
    "w13": "w2", "w13_dn": "w2_md",
    "input_linear": "output_linear", "ffn_gate_up_exps": "ffn_down_exps",
    "ffn_gate_up": "ffn_down", "ffn_gate_up_shexp": "ffn_down_shexp", "ffn_up": "ffn_down",
    "Wi": "Wo", "wi": "wo", "fc1": "fc2", "fc_in": "fc_out", "lin1": "lin2",
    "linear1": "linear2", "linear_1": "linear_2", "layer_1": "layer_2",
    "linear_fc1": "linear_fc2", "dense1": "dense2", "c_fc": "c_proj",
    "dense_h_to_4h": "dense_4h_to_h", "up_proj": "down_proj", "ff_proj": "ff_out", "w1": "w2",
    "in_proj": "out_proj", "intermediate_dense": "output_dense", "proj_in": "proj_out",
}  # fmt: skip
"""Name of the projection that reads what the one of this name gives out."""

_INPUTS_OF: Final = {
    output: tuple(name for name, other in _OUTPUT_OF.items() if other == output)
    for output in _OUTPUT_OF.values()
}
"""Names of the projections whose output one of this name reads."""


def attention_width(module: str, shapes: Shapes) -> int | None:
    """Width of all heads together: what the output projection beside `module` reads; None: unseen.

    GPT-2 stores matrices as `[in, out]`; its output projection is square.
    """
    before, leaf = _apart(module)
    for name in _OUTPUTS_OF_ATTENTION:
        output = matrix_of(shapes.get(before + name))
        if output is not None and name != leaf:
            return output[1]
    return None


def mlp_reader(module: str, shapes: Shapes) -> tuple[str, tuple[int, ...]] | None:
    """Name and shape of the tensor that reads what `module` gives out, or None."""
    if module.endswith("net.0.proj"):  # diffusers: a gated layer and a plain one in a list
        before, reader = module.removesuffix("net.0.proj"), "net.2"
    else:
        before, leaf = _apart(module)
        number = f".{leaf}" if leaf.isdigit() else ""
        if number or leaf == "proj":  # unsloth: gate_up_projs.3; CLVP: fc1.proj beside fc2
            before, leaf = _apart(before.removesuffix("."))
        reader = _OUTPUT_OF.get(leaf, "") + number
    shape = shapes.get(before + reader) if reader else None
    return None if shape is None else (reader, shape)


def reads_half(module: str, shapes: Shapes) -> bool:
    """True when what `module` reads is half of what the projection before it gives: a gated MLP."""
    before, leaf = _apart(module)
    number = f".{leaf}" if leaf.isdigit() else ""
    if number:
        before, leaf = _apart(before.removesuffix("."))
    own = shapes.get(f"{before}{leaf}{number}", ())
    for name in _INPUTS_OF.get(leaf, ()):
        given = shapes.get(f"{before}{name}{number}", ())
        if len(own) == len(given) > 1:
            (rows, cols), (out, width) = given[-2:], own[-2:]
            if (rows, cols) == (2 * width, out) or (rows, cols) == (width, 2 * out):
                return True
    return False


def swiglu_by_shape(module: str, shapes: Shapes) -> str | None:
    """Role of `w2` or `w3` where the shapes tell: EVA reads with `w3`, LLaMA with `w2`."""
    before, leaf = _apart(module)
    if leaf not in ("w2", "w3"):
        return None
    first, second, third = (matrix_of(shapes.get(f"{before}w{i}")) for i in (1, 2, 3))
    if first is None or second != first or third != first[::-1] or first[0] == first[1]:
        return None
    return {"w2": "up", "w3": "down"}[leaf]


def leaf_of(module: str) -> str:
    """The last name of a path; of `gate_up_projs.3`, where experts are numbered, the name."""
    before, leaf = _apart(module)
    return leaf_of(before.removesuffix(".")) if before and leaf.isdigit() else leaf


def _apart(module: str) -> tuple[str, str]:
    """Everything up to the last name, its dot included, and the last name."""
    before, dot, leaf = module.rpartition(".")
    return before + dot, leaf
