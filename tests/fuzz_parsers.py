"""Coverage-guided fuzzing of the parsers of hostile bytes. A script, not part of the test suite.

    pip install atheris
    python tests/fuzz_parsers.py header -max_total_time=3600

Targets: header, index, config, gguf, zip, pickle. Anything but a CheckpointError is a finding.
`pickle` runs the child's unpickler in this process, where none of the child's limits hold: give it
`-rss_limit_mb=4096`.

2026-11-23, atheris 3.0.0, one core, inputs tried without a finding: header 2,500,056; index
2,711,130; config 3,190,963; gguf 433,329; zip 978,839; pickle 24,820.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["zoo.io", "json"]):
    from zoo.io import pickle_child
    from zoo.io.configs import main_config, parse_config
    from zoo.io.files import Counters, MemoryFile
    from zoo.io.gguf import read_gguf_header
    from zoo.io.header import parse_header
    from zoo.io.index import parse_index
    from zoo.io.pickles import _zip_entries

from zoo.errors import CheckpointError


def fuzz_header(data: bytes) -> None:
    parse_header(b"{" + data, file_size=8 + len(data) + 1 + 64, file="x")


def fuzz_index(data: bytes) -> None:
    parse_index(data, file="x.index.json")


def fuzz_config(data: bytes) -> None:
    found = parse_config(data, file="config.json")
    if isinstance(found, dict):
        main_config({"config.json": found}, "")


def fuzz_gguf(data: bytes) -> None:
    read_gguf_header(MemoryFile("x.gguf", b"GGUF\x03\x00\x00\x00" + data, Counters()))


def fuzz_zip(data: bytes) -> None:
    _zip_entries(MemoryFile("x.bin", b"PK\x03\x04" + data, Counters()))


RUNNING = ("os.system", "os.exec", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect",
           "open", "exec", "compile", "import", "ctypes.dlopen")  # fmt: skip
ran: list[str] = []


def fuzz_pickle(data: bytes) -> None:
    """The unpickler may fail in any way but one: running something."""
    ran.clear()
    try:
        found = pickle_child.Reader(pickle_child.Counting(io.BytesIO(data))).load()
        pickle_child.tensors_in(found)
    except Exception:  # a child that dies is an answer: its parent says so
        pass
    if ran:
        raise AssertionError(f"the pickle ran something: {ran}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "header": fuzz_header,
    "index": fuzz_index,
    "config": fuzz_config,
    "gguf": fuzz_gguf,
    "zip": fuzz_zip,
    "pickle": fuzz_pickle,
}


def main() -> None:
    """See the module."""
    target = TARGETS[sys.argv.pop(1)]
    if target is fuzz_pickle:
        sys.addaudithook(lambda event, _: ran.append(event) if event in RUNNING else None)

    def one_input(data: bytes) -> None:
        try:
            target(data)
        except CheckpointError:
            pass

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
