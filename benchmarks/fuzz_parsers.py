"""Coverage-guided fuzzing of everything that parses bytes written by strangers.

    pip install atheris
    python benchmarks/fuzz_parsers.py card -max_total_time=600

Targets: card, header, index, config, gguf, zip (the directory of a `.bin`), pickle, hub (one model
of the API's JSON), range (a Range header). A parser may refuse its input with an error of
`zoo.errors`, those of files with a CheckpointError only; anything else ends the run with the input
saved. `pickle` runs the child's unpickler in this process, of whose limits only the one of memory
holds here; give it `-rss_limit_mb=8192`. Runs so far are recorded in FUZZ.md beside this file.
"""

from __future__ import annotations

import io
import json
import math
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["zoo", "yaml", "json"]):
    from zoo.card import parse_card
    from zoo.errors import CheckpointError, ZooError
    from zoo.hub.listing import parse_model
    from zoo.io import pickle_child
    from zoo.io.configs import main_config, parse_config
    from zoo.io.files import Counters, MemoryFile
    from zoo.io.gguf_header import read_gguf_header
    from zoo.io.header import parse_header
    from zoo.io.index import parse_index
    from zoo.io.pickles import _zip_entries
    from zoo.loopback.replies import parse_range

SHA = "0" * 40


def card(data: bytes) -> None:
    """Never raises; every number kept is finite."""
    for raw in (data, b"---\n" + data + b"\n---\n"):
        card = parse_card(raw)
        assert all(math.isfinite(e.value) and e.metric for e in card.evaluations)


def header(data: bytes) -> None:
    """Tensors of an accepted header lie inside the file."""
    size = 8 + len(data) + sum(data) % 20 * 4
    for tensor in parse_header(data, file_size=size, file="f").tensors:
        assert 8 + len(data) <= tensor.start <= tensor.end <= size


def index(data: bytes) -> None:
    """Shards of an accepted index stay inside the folder."""
    for shard in parse_index(data, file="x.index.json").shards:
        assert not shard.startswith("/") and ".." not in shard.split("/")


def config(data: bytes) -> None:
    """JSON or an error of ours; the main part of an object is taken."""
    config = parse_config(data, file="config.json")
    if isinstance(config, dict):
        main_config({"config.json": config}, "")


def gguf(data: bytes) -> None:
    """A GGUF file of version 3 from its first count on."""
    read_gguf_header(MemoryFile("x.gguf", b"GGUF\x03\x00\x00\x00" + data, Counters()))


def zip_entries(data: bytes) -> None:
    """The directory of a zip that holds a pickle and its tensors."""
    _zip_entries(MemoryFile("x.bin", b"PK\x03\x04" + data, Counters()))


RUNNING = (
    *("os.system", "os.exec", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect"),
    *("open", "exec", "compile", "import", "ctypes.dlopen"),
)
"""Audit events that a pickle must not cause."""
ran: list[str] = []


def pickle(data: bytes) -> None:
    """The unpickler may fail in any way but one: running something."""
    ran.clear()
    try:
        content = pickle_child.Reader(pickle_child.Counting(io.BytesIO(data))).load()
        pickle_child.tensors_in(content)
    except Exception:  # a child that dies is an answer: its parent says so
        pass
    assert not ran, f"the pickle ran something: {ran}"


def hub(data: bytes) -> None:
    """Fields of any JSON object, on top of a good id and commit."""
    try:
        entry = json.loads(data)
    except (ValueError, RecursionError):
        return
    parse_model(entry)
    if isinstance(entry, dict):
        assert parse_model({**entry, "id": "a/b", "sha": SHA}) is not None


def range_header(data: bytes) -> None:
    """Accepted ranges lie inside the file."""
    wanted = parse_range(data.decode("latin-1"), 1000)
    if isinstance(wanted, tuple):
        start, length = wanted
        assert 0 <= start < start + length <= 1000


WORDS = {
    "header": ("__metadata__", "w", "b", "dtype", "shape", "data_offsets", "F32", "F4", "BF16"),
    "index": ("weight_map", "metadata", "total_size", "w", "a.safetensors", "../x", "/x", "a\\b"),
    "config": ("quantization_config", "model_type", "text_config", "architectures"),
    "hub": (
        "tags",
        "gated",
        "safetensors",
        "total",
        "config",
        "architectures",
        "cardData",
        "type",
        "model-index",
        "results",
        "metrics",
        "value",
        "dataset",
        "task",
        "name",
        "license",
        "sha",
    ),
}
"""Names put into generated JSON; random bytes are hardly ever JSON at all."""


def generated(words: tuple[str, ...], data: bytes) -> bytes:
    """JSON (or header-like JSON) grown from the fuzzer's bytes."""
    source = atheris.FuzzedDataProvider(data)

    def grow(depth: int) -> object:
        kind = source.ConsumeIntInRange(0, 9 if depth < 5 else 5)
        if kind == 0:
            return source.ConsumeIntInRange(-(2**65), 2**65)
        if kind == 1:
            return source.ConsumeIntInRange(0, 70)
        if kind == 2:
            return source.PickValueInList([None, True, False, 1e308, float("inf"), -0.5])
        if kind == 3:
            return source.ConsumeUnicode(8)
        if kind in (4, 5):
            return source.PickValueInList(list(words))
        num = source.ConsumeIntInRange(0, 4)
        if kind in (6, 7):
            return [grow(depth + 1) for _ in range(num)]
        return {source.PickValueInList(list(words)): grow(depth + 1) for _ in range(num)}

    return json.dumps(grow(0)).encode("utf-8", "surrogatepass")


def shaped_header(data: bytes) -> bytes:
    """A header that is nearly right: tensors in a row, each field wrong now and then."""
    source = atheris.FuzzedDataProvider(data)
    out: dict[str, object] = {}
    at = 0
    for i in range(source.ConsumeIntInRange(0, 4)):
        rows = source.ConsumeIntInRange(0, 4)
        end = at + 4 * rows + source.PickValueInList([0, 0, 0, 0, 1, -1, 2**63])
        shape = source.PickValueInList([[rows], [rows, 1], [rows, 1], [-rows], [2**62, 4], "x"])
        dtype = source.PickValueInList(["F32", "F32", "I32", "F4", "F8_E4M3", "", 7])
        out[f"w{i}"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    return json.dumps(out).encode()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "card": card,
    "header": header,
    "index": index,
    "config": config,
    "gguf": gguf,
    "zip": zip_entries,
    "pickle": pickle,
    "hub": hub,
    "range": range_header,
}


def _address_space() -> int:
    """Bytes this process has mapped; its instrumented modules take most of them."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        raise SystemExit(f"usage: {sys.argv[0]} {'|'.join(TARGETS)} [libFuzzer options]")
    name = sys.argv[1]
    target, words = TARGETS[name], WORDS.get(name)
    refusal = ZooError if name in {"card", "hub", "range"} else CheckpointError
    if name == "pickle":
        sys.addaudithook(lambda event, _: ran.append(event) if event in RUNNING else None)
        limit = _address_space() + pickle_child.MAX_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def once(data: bytes) -> None:
        mode = data[:1]
        if words is not None and mode >= b"\x20":
            is_shaped = name == "header" and mode >= b"\x90"
            data = shaped_header(data[1:]) if is_shaped else generated(words, data[1:])
        elif name == "header":
            data = b"{" + data
        try:
            target(data)
        except refusal:
            return

    atheris.Setup([sys.argv[0], *sys.argv[2:]], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
