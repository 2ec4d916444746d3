"""ONNX files: which tensor lies at which bytes, in the file itself or in one beside it, and what it is to
the graph.

Exporters write the weights of a linear layer as `onnx::MatMul_1234`, in×out; the node that multiplies by
it still has the layer's name, and lends it. What the graph multiplies by from the right is given out×in, as
torch has it, whoever named it; kernels lie as torch's do. An anonymous constant that no linear map uses is a
buffer: exporters write masks and tables of positions so. After onnx.proto (1.16); no graph is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final

from zoo.errors import CheckpointError, MissingShardError, TruncatedError
from zoo.io.dtypes import DTYPE_BITS
from zoo.io.file_names import checked_name
from zoo.io.files import ByteFile
from zoo.io.header import MAX_DIMS, MAX_NAME_CHARS, MAX_TENSORS, TensorMeta
from zoo.io.protobuf import Field, Wire

_CODES: Final = {
    1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16",
    11: "F64", 12: "U32", 13: "U64", 14: "C64", 16: "BF16", 17: "F8_E4M3", 18: "F8_E4M3FNUZ",
    19: "F8_E5M2", 20: "F8_E5M2FNUZ",
}  # fmt: skip
"""Safetensors code by the number of ONNX's type; strings, 128-bit numbers and those below a byte have none."""
_PLAIN_LISTS: Final = {4: 4, 10: 8}
"""Fields of a tensor that hold packed numbers of fixed size, and their bytes: float_data, double_data."""
_LINEAR: Final = frozenset({
    "MatMul", "Gemm", "Conv", "ConvTranspose", "Gather", "LSTM", "GRU", "RNN", "Einsum",
    "FusedMatMul", "FusedGemm", "FusedConv", "MatMulInteger", "ConvInteger", "QLinearMatMul",
    "QLinearConv", "MatMulNBits", "DynamicQuantizeMatMul", "GatherBlockQuantized", "Attention",
    "EmbedLayerNormalization",
})  # fmt: skip
"""Operators whose second operands, or tables, are what a model learns as matrices."""
_HANDS_ON: Final = frozenset({
    "Transpose", "Cast", "CastLike", "Identity", "Reshape", "Unsqueeze", "Squeeze",
    "DequantizeLinear", "Flatten",
})  # fmt: skip
"""Operators that hand a weight on as what it is."""
_KEEPS_SHAPE: Final = frozenset({"Transpose", "Cast", "CastLike", "Identity", "DequantizeLinear"})
"""Those of `_HANDS_ON` after which a matrix has the same two axes."""
_FROM_THE_RIGHT: Final = frozenset({
    "MatMul", "Gemm", "FusedMatMul", "FusedGemm", "MatMulInteger", "DynamicQuantizeMatMul",
    "Attention",
})  # fmt: skip
"""Operators that multiply rows of activations by their second operand."""
_ANONYMOUS: Final = re.compile(r"^(?:onnx::|/|_?val_|_v_|const|\d+$|_inlfunc)|(?:^|/)Constant_?\d*")
"""Names that exporters make up."""
_OPERATOR: Final = re.compile(r"/(?:MatMul|Gemm|Conv|Gather)(?:_\d+)?$")
"""The last piece of a node's name where torch made it: the operator."""
_MAX_DEPTH: Final = 16
"""Graphs inside graphs, and operators a weight is handed on by."""


@dataclass(slots=True)
class _Tensor:
    """A TensorProto, as far as its place is concerned."""

    name: str = ""
    dims: tuple[int, ...] = ()
    type: int = 0
    pieces: list[Field] = field(default_factory=list)
    """Its data: raw, or lists of plain numbers."""
    list_bytes: int = 0
    """Bytes a number of `pieces`; 0 when they are raw."""
    has_other_data: bool = False
    """True when numbers are stored one by one, which has no place of its own."""
    is_external: bool = False
    external: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Node:
    """One operator of the graph."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    is_transposed: bool
    """True where `transB` says that the second operand is out×in already."""


@dataclass(frozen=True, slots=True)
class _Use:
    """How a linear map uses a tensor."""

    node: _Node
    position: int
    """Which operand it is, from 0."""
    is_turned: bool
    """True when an odd number of transpositions lies between."""
    is_plain: bool
    """True when nothing but transpositions of matrices and casts lies between."""


@dataclass(slots=True)
class _Graph:
    """What a file holds, its inner graphs included."""

    nodes: list[_Node] = field(default_factory=list)
    tensors: dict[str, _Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnnxTable:
    """The tensors of one file."""

    tensors: tuple[TensorMeta, ...]
    buffers: frozenset[str]
    """Those of `tensors` that no linear map uses and nobody named."""


def read_onnx_table(file: ByteFile, sizes: Mapping[str, int]) -> OnnxTable:
    """The tensors of `file`, in its order; `sizes` are all files of the store.

    MissingShardError when a tensor's own file is not there; CheckpointError for a file that is no ONNX, or
    a tensor without plain bytes.
    """
    wire = Wire(file, "ONNX")
    graph = _Graph()
    for part in wire.fields(0, file.size):
        if part.number == 7 and part.is_bytes:
            _read_graph(wire, file.name, part, graph, depth=0)
    if not graph.nodes:
        raise CheckpointError(f"{file.name}: no graph of ONNX in it; fetch it again")
    users = _users(graph)
    metas: dict[str, TensorMeta] = {}
    buffers: set[str] = set()
    for tensor in graph.tensors.values():
        use = _linear_use(tensor.name, users)
        name = _name_of(tensor, use)
        if name in metas or (name != tensor.name and name in graph.tensors):
            name = tensor.name
        if use is None and _ANONYMOUS.search(tensor.name):
            buffers.add(name)
        meta = _meta(tensor, name, file, sizes)
        metas[name] = _turned(meta) if _is_in_by_out(tensor, use) else meta
    return OnnxTable(tuple(metas.values()), frozenset(buffers))


def _read_graph(wire: Wire, file: str, place: Field, graph: _Graph, *, depth: int) -> None:
    """GraphProto: nodes (1) and initializers (5)."""
    if depth > _MAX_DEPTH:
        raise CheckpointError(f"{file}: graphs inside graphs, {depth} deep; refused")
    for part in wire.fields(place.start, place.end):
        if part.number == 1 and part.is_bytes:
            _read_node(wire, file, part, graph, depth=depth)
        elif part.number == 5 and part.is_bytes:
            _keep(graph, _read_tensor(wire, file, part), file)
        elif part.number == 15:
            raise CheckpointError(f"{file}: sparse weights, which nothing here reads")


def _read_node(wire: Wire, file: str, place: Field, graph: _Graph, *, depth: int) -> None:
    """NodeProto: inputs (1), outputs (2), name (3), operator (4), attributes (5)."""
    texts: dict[int, list[str]] = {1: [], 2: [], 3: [], 4: []}
    constants: list[_Tensor] = []
    is_transposed = False
    for part in wire.fields(place.start, place.end):
        if part.number in texts and part.is_bytes:
            texts[part.number].append(wire.text(part, MAX_NAME_CHARS))
        elif part.number == 5 and part.is_bytes:
            attribute, number = "", 0
            for inner in wire.fields(part.start, part.end):  # AttributeProto
                if inner.number == 1 and inner.is_bytes:
                    attribute = wire.text(inner, MAX_NAME_CHARS)
                elif inner.number == 3 and not inner.is_bytes:
                    number = inner.value
                if inner.number == 5 and inner.is_bytes:
                    constants.append(_read_tensor(wire, file, inner))
                elif inner.number in (6, 11) and inner.is_bytes:
                    _read_graph(wire, file, inner, graph, depth=depth + 1)
            is_transposed = is_transposed or (attribute == "transB" and number == 1)
    operator = "".join(texts[4])
    name, inputs, outputs = "".join(texts[3]), tuple(texts[1]), tuple(texts[2])
    graph.nodes.append(_Node(name, operator, inputs, outputs, is_transposed))
    if operator == "Constant" and len(constants) == 1 and len(texts[2]) == 1:
        constants[0].name = texts[2][0]
        _keep(graph, constants[0], file)


def _keep(graph: _Graph, tensor: _Tensor, file: str) -> None:
    if tensor.name in graph.tensors:
        raise CheckpointError(f"{file}: two tensors called {tensor.name[:200]!r}; wanted one")
    if len(graph.tensors) >= MAX_TENSORS:
        raise CheckpointError(f"{file}: more than {MAX_TENSORS:,} tensors")
    graph.tensors[tensor.name] = tensor


def _read_tensor(wire: Wire, file: str, place: Field) -> _Tensor:
    """TensorProto: dims (1), type (2), name (8), raw data (9), lists of numbers (4 to 7, 10, 11), a file
    apart (13, 14)."""
    tensor = _Tensor()
    dims: list[int] = []
    for part in wire.fields(place.start, place.end):
        if part.number == 1:
            dims += wire.numbers(part)
        elif part.number == 2:
            tensor.type = part.value
        elif part.number == 8:
            tensor.name = wire.text(part, MAX_NAME_CHARS)
        elif part.number == 9:
            tensor.pieces.append(part)
        elif part.number in _PLAIN_LISTS and part.is_bytes:
            tensor.pieces.append(part)
            tensor.list_bytes = _PLAIN_LISTS[part.number]
        elif part.number in (4, 5, 6, 7, 10, 11):
            tensor.has_other_data = True
        elif part.number == 13:
            entry = {
                e.number: wire.text(e, MAX_NAME_CHARS) for e in wire.fields(part.start, part.end)
            }
            tensor.external[entry.get(1, "")] = entry.get(2, "")
        elif part.number == 14:
            tensor.is_external = part.value == 1
        if len(dims) > MAX_DIMS:
            raise CheckpointError(f"{file}: a tensor of more than {MAX_DIMS} axes; refused")
    tensor.dims = tuple(dims)
    return tensor


def _meta(tensor: _Tensor, name: str, file: ByteFile, sizes: Mapping[str, int]) -> TensorMeta:
    """Where the numbers of a tensor lie."""
    what = f"{file.name}: tensor {tensor.name[:200]!r}"
    code = _CODES.get(tensor.type)
    if code is None:
        # too small to be a weight, or of a type that nobody here decodes: it is named by its type
        code, num_bytes = f"ONNX_{tensor.type}", None
    else:
        num_bytes = prod(tensor.dims) * DTYPE_BITS[code] // 8
    if any(size >= 2**62 for size in tensor.dims):
        raise CheckpointError(f"{what} has the shape {list(tensor.dims)}; fetch it again")
    if tensor.is_external:
        place, start, end = _apart(tensor, file, sizes, what, num_bytes)
    elif len(tensor.pieces) == 1 and not tensor.has_other_data:
        place, start, end = file.name, tensor.pieces[0].start, tensor.pieces[0].end
    elif prod(tensor.dims) == 0 or len(tensor.dims) < 2:
        # a shape or a bias whose numbers are stored one by one: nothing that is measured
        return TensorMeta(name, code, (0,), file.name, 0, 0)
    else:
        raise CheckpointError(
            f"{what} stores its numbers one by one; wanted raw bytes. Save it again with onnx"
        )
    if num_bytes is not None and end - start != num_bytes:
        raise TruncatedError(
            f"{what} has {end - start:,} bytes; wanted {num_bytes:,}. Fetch it again"
        )
    return TensorMeta(name, code, tensor.dims, place, start, end)


def _apart(
    tensor: _Tensor, file: ByteFile, sizes: Mapping[str, int], what: str, num_bytes: int | None
) -> tuple[str, int, int]:
    """(file, start, end) of a tensor whose numbers lie in a file beside the ONNX file."""
    folder = file.name.rpartition("/")[0]
    location = checked_name(tensor.external.get("location", ""), said_by=file.name)
    place = f"{folder}/{location}" if folder else location
    if place not in sizes:
        raise MissingShardError(
            f"{what} lies in {location!r}, which is not here; fetch it too, or name the whole folder"
        )
    texts = tensor.external.get("offset", "0"), tensor.external.get("length", str(num_bytes))
    if not all(text.isdigit() and len(text) < 19 for text in texts):
        raise CheckpointError(f"{what} lies at {texts} of {location!r}; wanted numbers")
    start, length = map(int, texts)
    if start + length > sizes[place]:
        raise TruncatedError(
            f"{location} has {sizes[place]:,} bytes; wanted {start + length:,} for {tensor.name!r}. Fetch it again"
        )
    return place, start, start + length


def _users(graph: _Graph) -> dict[str, list[_Node]]:
    """The operators that take each value."""
    users: dict[str, list[_Node]] = {}
    for node in graph.nodes:
        for value in dict.fromkeys(node.inputs):
            users.setdefault(value, []).append(node)
    return users


def _linear_use(value: str, users: Mapping[str, list[_Node]]) -> _Use | None:
    """How a linear map uses a value, as it is or handed on; None when none does."""
    level = [(value, False, True)]
    for _ in range(_MAX_DEPTH):
        following: list[tuple[str, bool, bool]] = []
        for name, is_turned, is_plain in level:
            for node in users.get(name, ()):
                if node.operator in _LINEAR:
                    return _Use(node, node.inputs.index(name), is_turned, is_plain)
                if node.operator in _HANDS_ON and node.inputs[0] == name:
                    turned = is_turned != (node.operator == "Transpose")
                    plain = is_plain and node.operator in _KEEPS_SHAPE
                    following += [(out, turned, plain) for out in node.outputs]
        level = following
    return None


def _name_of(tensor: _Tensor, use: _Use | None) -> str:
    """What a tensor is called here: dots for slashes, and the name of the layer that uses it, where nobody
    gave it one. Kernels are called `weight`: their axes are torch's, whatever they were called before."""
    name = tensor.name
    if use is None:
        return name
    lent = _layer_of(use.node) if _ANONYMOUS.search(name) else None
    name = lent or re.sub(r":\d+$", "", name.strip("/").replace("/", "."))
    is_kernel = "Conv" in use.node.operator and len(tensor.dims) > 2
    return f"{name}.weight" if is_kernel and not name.endswith("weight") else name


def _is_in_by_out(tensor: _Tensor, use: _Use | None) -> bool:
    """True for a matrix whose columns are what the layer gives."""
    if use is None or len(tensor.dims) != 2 or not use.is_plain or use.position != 1:
        return False
    return use.node.operator in _FROM_THE_RIGHT and not (use.is_turned ^ use.node.is_transposed)


def _turned(meta: TensorMeta) -> TensorMeta:
    """The transpose of a matrix, at the same bytes."""
    rows, cols = meta.shape
    if 0 in meta.shape or meta.dtype not in DTYPE_BITS or DTYPE_BITS[meta.dtype] < 8:
        return meta
    return replace(meta, shape=(cols, rows), stride=(1, cols))


def _layer_of(node: _Node) -> str | None:
    """The name of a layer's weight, from that of its operator: `/h.0/attn/MatMul` is `h.0.attn.weight`."""
    match = _OPERATOR.search(node.name)
    if match is None or match.start() == 0:
        return None
    return f"{node.name[: match.start()].strip('/').replace('/', '.')}.weight"
