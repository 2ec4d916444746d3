"""Reads the pickle inside a PyTorch file without running any of it. A script of its own.

Started by `zoo.io.pickles` in a process of bounded memory and time; imports nothing but the
standard library, and never torch. Every global a pickle may name is replaced by an inert stand-in
that records what it was given; any other name is refused. Weights are not read: the answer is a
table of which tensor lies where in which storage.

Input: the pickle, on standard input. Argument: `zip` (one pickle) or `legacy` (the format before
PyTorch 1.6, several pickles and then the raw storages). Output: one JSON object.
"""

from __future__ import annotations

import json
import pickle
import resource
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import BinaryIO

MAX_MEMORY_BYTES = 2 << 30
"""Address space of this process, set by itself: a hostile pickle can allocate no more."""
MAX_CPU_S = 60
"""Seconds of processor time, likewise."""
MAX_DEPTH = 12
"""Containers nested deeper are not searched for tensors."""
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "params_ema", "params")
"""Keys under which training checkpoints keep the weights, the preferred one first."""
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
"""The first pickle of a legacy file holds this number."""

STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
    "UntypedStorage": "U8",
}  # fmt: skip
"""Safetensors code by torch's storage class."""
DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32",
    "uint64": "U64", "bool": "BOOL", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
"""Safetensors code by torch's dtype."""


class Refused(Exception):
    """The pickle names something that is not data."""


class Kind:
    """Stands for a storage class or a dtype: a safetensors code."""

    def __init__(self, code: str) -> None:
        self.code = code


class Storage:
    """Stands for a block of stored numbers."""

    def __init__(self, code: str, key: str, numel: int) -> None:
        self.code, self.key, self.numel = code, key, numel


class Tensor:
    """Stands for a tensor: a view of a storage."""

    def __init__(
        self, storage: Storage, offset: int, shape: object, stride: object, code: str
    ) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride
        self.code = code


class Inert:
    """Stands for a value that does not matter here: a device, a number of numpy's, options.

    Runs nothing; keeps what it was given, so that a tensor inside is seen too.
    """

    def __init__(self, *given: object, **named: object) -> None:
        self.given: list[object] = [*given, *named.values()]

    def __new__(cls, *_: object, **__: object) -> Inert:
        made = super().__new__(cls)
        made.given = []
        return made

    def __setstate__(self, state: object) -> None:
        self.given.append(state)

    def __setitem__(self, key: object, value: object) -> None:
        self.given.append(value)

    def append(self, value: object) -> None:
        self.given.append(value)

    def extend(self, values: Iterable[object]) -> None:
        self.given.extend(values)


class InertDict(dict[object, object]):
    """Stands for a dictionary with a default, whose factory is not kept."""

    def __init__(self, *_: object) -> None:
        super().__init__()


class InertList(list[object]):
    """Stands for a double-ended queue."""

    def __init__(self, values: Iterable[object] = (), *_: object) -> None:
        super().__init__(values if isinstance(values, (list, tuple)) else ())


def rebuild_tensor(
    storage: Storage, offset: int, shape: object, stride: object, *_: object
) -> Tensor:
    return Tensor(storage, offset, shape, stride, storage.code)


def rebuild_tensor_v3(
    storage: Storage, offset: int, shape: object, stride: object, _: object, __: object,
    kind: Kind, *___: object,
) -> Tensor:  # fmt: skip
    return Tensor(storage, offset, shape, stride, kind.code)


def rebuild_parameter(data: Tensor, *_: object) -> Tensor:
    return data


MAKERS: tuple[Callable[..., object], ...] = (rebuild_tensor, rebuild_tensor_v3, rebuild_parameter)
"""Stand-ins that a tensor of another class may be made by."""


def rebuild_from_type(
    make: Callable[..., object], _: object, arguments: tuple[object, ...], __: object
) -> object:
    if make not in MAKERS:
        raise Refused("a tensor of a class of its own")
    return make(*arguments)


ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "Counter"): Counter,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): rebuild_from_type,
    ("torch", "Size"): tuple,
    ("torch", "device"): Inert,
    ("torch", "Tensor"): Inert,
    ("torch.nn.parameter", "Parameter"): Inert,
    ("torch.storage", "UntypedStorage"): Kind("U8"),
    ("_codecs", "encode"): Inert,
    ("numpy", "dtype"): Inert,
    ("numpy", "ndarray"): Inert,
    ("numpy.core.multiarray", "scalar"): Inert,
    ("numpy._core.multiarray", "scalar"): Inert,
    ("numpy.core.multiarray", "_reconstruct"): Inert,
    ("numpy._core.multiarray", "_reconstruct"): Inert,
    ("collections", "defaultdict"): InertDict,
    ("collections", "deque"): InertList,
    ("argparse", "Namespace"): Inert,
    ("types", "SimpleNamespace"): Inert,
    ("_io", "BytesIO"): Inert,
    ("_io", "StringIO"): Inert,
    ("io", "BytesIO"): Inert,
    ("io", "StringIO"): Inert,
    ("typing", "Any"): Inert,
    ("datetime", "datetime"): Inert,
    ("datetime", "timedelta"): Inert,
    ("datetime", "date"): Inert,
    ("uuid", "UUID"): Inert,
    ("decimal", "Decimal"): Inert,
    **{
        (module, name): Inert
        for module in ("pathlib", "pathlib._local")
        for name in (
            "Path",
            "PosixPath",
            "WindowsPath",
            "PurePosixPath",
            "PureWindowsPath",
            "PurePath",
        )
    },
    **{
        (module, name): Inert
        for module in ("builtins", "__builtin__")
        for name in (
            "int",
            "float",
            "str",
            "bool",
            "bytes",
            "bytearray",
            "complex",
            "list",
            "dict",
            "tuple",
            "frozenset",
            "slice",
            "range",
            "object",
            "long",
            "unicode",
        )
    },
    **{
        ("numpy", name): Inert
        for name in (
            "float64",
            "float32",
            "float16",
            "int64",
            "int32",
            "int16",
            "int8",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "bool_",
            "bool",
            "str_",
            "longlong",
        )
    },
    **{
        (f"omegaconf.{module}", name): Inert
        for module, names in (
            ("dictconfig", ("DictConfig",)),
            ("listconfig", ("ListConfig",)),
            ("base", ("Metadata", "ContainerMetadata", "SCMode")),
            (
                "nodes",
                (
                    "AnyNode",
                    "ValueNode",
                    "StringNode",
                    "IntegerNode",
                    "FloatNode",
                    "BooleanNode",
                    "EnumNode",
                    "PathNode",
                    "BytesNode",
                    "InterpolationResultNode",
                ),
            ),
        )
        for name in names
    },
    **{("torch", name): Kind(code) for name, code in (STORAGES | DTYPES).items()},
}
"""The globals that a pickle may name, and what stands for each."""


class Reader(pickle.Unpickler):
    """An unpickler that knows the names in `ALLOWED` and no others."""

    def __init__(self, source: Counting) -> None:
        super().__init__(source, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in ALLOWED:
            raise Refused(f"the global {module[:100]}.{name[:100]}")
        return ALLOWED[module, name]

    def persistent_load(self, pid: object) -> Storage:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise Refused("a reference that is no storage")
        _, kind, key, _, numel, *view = pid
        if not isinstance(kind, Kind) or not isinstance(numel, int) or any(view):
            raise Refused("a storage of an unknown class, or a view of one")
        return self.storages.setdefault(str(key), Storage(kind.code, str(key), numel))


class Counting:
    """Standard input, with the number of bytes read so far. Has no `peek`, so that the unpickler
    reads no further than it must."""

    def __init__(self, source: BinaryIO) -> None:
        self._source, self.position = source, 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.position += len(data)
        return data

    def readline(self) -> bytes:
        line = self._source.readline()
        self.position += len(line)
        return line


def tensors_in(content: object) -> dict[str, Tensor]:
    """Every tensor by its dotted path through dictionaries, lists and tuples."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()  # options refer to one another in circles
    stack: list[tuple[str, object, int]] = [("", content, 0)]
    while stack:
        path, value, depth = stack.pop()
        if isinstance(value, Tensor):
            tensors[path or "tensor"] = value
        elif isinstance(value, Inert) and depth < MAX_DEPTH:
            if id(value) not in seen:
                seen.add(id(value))
                stack.extend((path, inside, depth + 1) for inside in reversed(value.given))
        elif isinstance(value, (dict, list, tuple)) and depth < MAX_DEPTH:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            inside = [(f"{path}.{key}" if path else str(key), v, depth + 1) for key, v in items]
            stack.extend(reversed(inside))
    return tensors


def wrapper_of(content: object) -> str:
    """The prefix of the dictionary that holds the weights of a training checkpoint, or nothing.

    A dictionary with a tensor at its top is a plain state dict.
    """
    if not isinstance(content, dict) or any(isinstance(v, Tensor) for v in content.values()):
        return ""
    return next((f"{w}." for w in WRAPPERS if isinstance(content.get(w), dict)), "")


def main() -> None:
    """Reads the pickle from standard input and writes the answer, as the module says."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    source = Counting(sys.stdin.buffer)
    answer: dict[str, object] = {}
    try:
        if sys.argv[1] == "legacy":
            magic, _, _ = (Reader(source).load() for _ in range(3))
            if magic != MAGIC_NUMBER:
                raise Refused("no PyTorch magic number at the start")
        reader = Reader(source)
        content = reader.load()
        if sys.argv[1] == "legacy":
            answer["keys"] = [str(key) for key in Reader(source).load()]
            answer["position"] = source.position
        answer["wrapper"] = wrapper_of(content)
        answer["storages"] = {k: [s.code, s.numel] for k, s in reader.storages.items()}
        answer["tensors"] = [
            [path, t.code, list(t.shape), list(t.stride), t.offset, t.storage.key]  # type: ignore[call-overload]
            for path, t in tensors_in(content).items()
        ]
    except Refused as error:
        answer = {"refused": str(error)}
    sys.stdin.close()  # before writing: the parent may still be sending, and then stops
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
