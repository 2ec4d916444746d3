"""PyTorch files (`.bin`, `.pt`, `.pth`): which tensor lies at which bytes.

The pickle in the file is read by `pickle_child` in a process of its own, of bounded memory and
time, which runs none of it. The weights themselves lie as plain bytes in the file, so they are
read by range like those of any other container: nothing is unpacked to disk or loaded twice.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Literal

from zoo.errors import CheckpointError, TruncatedError, UnsafeError
from zoo.io.archives import data_start, zip_entries
from zoo.io.dtypes import DTYPE_BITS
from zoo.io.files import ByteFile, read_bytes
from zoo.io.header import MAX_HEADER_BYTES, MAX_NAME_CHARS, MAX_TENSORS, TensorMeta

_CHILD = Path(__file__).with_name("pickle_child.py")
"""The script that reads the pickle."""
_TIMEOUT_S = 120
"""Seconds after which a child that has not answered is killed."""
_BLOCK_BYTES = 1 << 20
"""Bytes that are read and sent to the child at a time."""
_FIRST_BLOCK_BYTES = 1 << 12
"""Bytes of the first piece of a legacy file, which does not say where its pickles end; the pieces
double from there up to `_BLOCK_BYTES`."""
_ANSWER_S = 0.25
"""Seconds the child is given to answer before the next piece of a legacy file is read for it."""
_LEGACY_START = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""The bytes that every legacy file starts with: the pickle of torch's magic number."""


def read_pickle_table(file: ByteFile) -> tuple[TensorMeta, ...]:
    """The tensors of `file`, in file order.

    UnsafeError when the pickle holds anything but data; CheckpointError or TruncatedError when it
    cannot be read.
    """
    start = read_bytes(file, 0, min(len(_LEGACY_START), file.size))
    if start[:4] == b"PK\x03\x04":
        return _read_zip(file)
    if start == _LEGACY_START:
        return _read_legacy(file)
    raise CheckpointError(
        f"{file.name}: starts with {start[:8]!r}; wanted a file saved by torch.save. If it is one "
        "of another kind, convert it to safetensors"
    )


def _read_zip(file: ByteFile) -> tuple[TensorMeta, ...]:
    """Files from PyTorch 1.6 on: a zip archive of a pickle and one entry per storage."""
    entries = zip_entries(file)
    pickles = [name for name in entries if name.endswith("data.pkl") and name.count("/") <= 1]
    root = pickles[0].removesuffix("data.pkl") if len(pickles) == 1 else ""
    if len(pickles) != 1:
        raise CheckpointError(f"{file.name}: {len(pickles)} files called data.pkl; wanted one")
    if any(name.startswith(f"{root}code/") for name in entries):
        raise UnsafeError(
            f"{file.name} is a TorchScript program; wanted weights alone. Save its state_dict"
        )
    if f"{root}byteorder" in entries:
        header_at, length = entries[f"{root}byteorder"]
        if read_bytes(file, data_start(file, header_at), min(length, 16)) != b"little":
            raise CheckpointError(f"{file.name}: big-endian; wanted little-endian. Save it again")
    header_at, length = entries[pickles[0]]
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(f"{file.name}: pickle of {length:,} bytes; too long for a table")
    answer = _ask_child("zip", file, data_start(file, header_at), length)
    starts: dict[str, int] = {}
    for key, num_bytes in _storage_bytes(answer, file.name).items():
        name = f"{root}data/{key}"
        if name not in entries or entries[name][1] < num_bytes:
            there = f"{entries[name][1]:,} bytes" if name in entries else "nothing"
            raise TruncatedError(
                f"{file.name}: {there} for storage {name!r}; wanted {num_bytes:,} bytes. "
                "Fetch it again"
            )
        starts[key] = data_start(file, entries[name][0])
    return _table(answer, starts, file)


def _read_legacy(file: ByteFile) -> tuple[TensorMeta, ...]:
    """Files from before PyTorch 1.6: after the pickles, each storage as a count and its numbers."""
    answer = _ask_child("legacy", file, 0, file.size)
    sizes = _storage_bytes(answer, file.name)
    keys, position = answer.get("keys"), answer.get("position")
    if not isinstance(keys, list) or not isinstance(position, int) or set(keys) != set(sizes):
        raise CheckpointError(f"{file.name}: its storages are not those it lists; fetch it again")
    ends = list(accumulate((8 + sizes[key] for key in keys), initial=position))
    if ends[-1] > file.size:
        raise TruncatedError(
            f"{file.name} has {file.size:,} bytes; wanted {ends[-1]:,}. It is cut short: fetch it "
            "again"
        )
    return _table(answer, {key: end + 8 for key, end in zip(keys, ends, strict=False)}, file)


def _ask_child(
    kind: Literal["zip", "legacy"], file: ByteFile, start: int, length: int
) -> Mapping[str, object]:
    """The child's answer for the pickle in the `length` bytes of `file` from `start` on."""
    command = [sys.executable, "-I", "-S", str(_CHILD), kind]
    # the child gets what its interpreter needs to start, and no secrets
    environment = {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as child:
        assert child.stdin is not None
        try:
            _send(child, kind, file, start, start + length)
        except BrokenPipeError:
            pass  # it has seen enough, or died: its answer tells
        with suppress(BrokenPipeError):
            child.stdin.close()
        child.stdin = None  # closed: `communicate` must not touch it
        try:
            out, err = child.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise CheckpointError(f"{file.name}: its pickle took over {_TIMEOUT_S} s") from error
    if child.returncode != 0 or not out:
        last_line = err.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise CheckpointError(
            f"{file.name}: its pickle cannot be read ({last_line[0][:200]}, exit {child.returncode}); "
            "wanted a state dict. Convert it to safetensors"
        )
    answer = json.loads(out)
    if "refused" in answer:
        raise UnsafeError(
            f"{file.name}: its pickle holds {answer['refused']}, which is more than tensors; "
            "nothing of it was run. Save its state_dict alone, or convert it to safetensors"
        )
    assert isinstance(answer, dict)
    return answer


def _send(child: subprocess.Popen[bytes], kind: str, file: ByteFile, start: int, end: int) -> None:
    """The bytes of `file` for the child, in pieces.

    A legacy file does not say where its pickles end: it is read on only while the child waits.
    """
    assert child.stdin is not None and child.stdout is not None
    step = _FIRST_BLOCK_BYTES if kind == "legacy" else _BLOCK_BYTES
    at = start
    while at < end:
        if kind == "legacy" and at > start:
            if select.select([child.stdout], [], [], _ANSWER_S)[0]:
                return
            step = min(2 * step, _BLOCK_BYTES)
        child.stdin.write(read_bytes(file, at, min(step, end - at)))
        child.stdin.flush()
        at += step


def _storage_bytes(answer: Mapping[str, object], file: str) -> dict[str, int]:
    """Bytes of every storage, by its key."""
    storages = answer["storages"]
    assert isinstance(storages, dict)
    if any(numel < 0 for _, numel in storages.values()):
        raise CheckpointError(f"{file}: a storage of negative size")
    return {key: numel * DTYPE_BITS[code] // 8 for key, (code, numel) in storages.items()}


def _table(
    answer: Mapping[str, object], starts: Mapping[str, int], file: ByteFile
) -> tuple[TensorMeta, ...]:
    """The tensors of the child's answer, given where each storage starts in `file`."""
    sizes = _storage_bytes(answer, file.name)
    metas: dict[str, TensorMeta] = {}
    rows = answer["tensors"]
    assert isinstance(rows, list)
    if len(rows) > MAX_TENSORS:
        raise CheckpointError(f"{file.name}: {len(rows):,} tensors; too many")
    wrapper = str(answer["wrapper"])
    for path, code, shape, stride, offset, key in rows:
        name = path.removeprefix(wrapper)
        is_sound = len(shape) == len(stride) and len(name) <= MAX_NAME_CHARS and name not in metas
        numbers = [*shape, *stride, offset]
        if not is_sound or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
            raise CheckpointError(f"{file.name}: tensor {path[:200]!r} has no sound name or shape")
        item_bytes = DTYPE_BITS[code] // 8
        reach = sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) + 1
        covered = 0 if 0 in shape else reach * item_bytes
        if offset * item_bytes + covered > sizes[key]:
            raise CheckpointError(
                f"{file.name}: tensor {name!r} reaches byte {offset * item_bytes + covered:,} of a "
                f"storage of {sizes[key]:,}; save it again"
            )
        start = starts[key] + offset * item_bytes
        if start + covered > file.size:
            raise TruncatedError(
                f"{file.name} has {file.size:,} bytes; wanted {start + covered:,} for {name!r}. "
                "It is cut short: fetch it again"
            )
        is_plain = 0 in shape or _is_contiguous(shape, stride)
        metas[name] = TensorMeta(
            name, code, tuple(shape), file.name, start, start + covered,
            None if is_plain else tuple(stride),
        )  # fmt: skip
    return tuple(sorted(metas.values(), key=lambda t: (t.start, t.end)))


def _is_contiguous(shape: list[int], stride: list[int]) -> bool:
    return all(
        n == 1 or step == prod(shape[i + 1 :])
        for i, (n, step) in enumerate(zip(shape, stride, strict=True))
    )
