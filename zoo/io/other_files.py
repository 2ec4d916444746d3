"""Files of other libraries that are read where a folder holds nothing else: Keras, ONNX, numpy. Pure.

Beside safetensors, GGUF or PyTorch files they are another copy of the same weights, or data, and are
left out by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

from zoo.errors import CheckpointError

OtherContainer = Literal["hdf5", "onnx", "numpy"]
"""A kind of file that is read alone."""
OTHER_SUFFIXES: Final[Mapping[OtherContainer, tuple[str, ...]]] = {
    "hdf5": (".keras", ".h5", ".hdf5"),
    "onnx": (".onnx",),
    "numpy": (".npz", ".npy"),
}
"""How the names of such files end; the kinds in the order of preference."""
_MODELS: Final = re.compile(r"\.keras$|\.onnx$|\.weights\.h5$|(?:^|/)tf_model(?:-\d+-of-\d+)?\.h5$")
"""Names that are a model's for certain; other `.h5` and `.npz` may as well hold data."""
_USUAL: Final = ("model", "tf_model", "model.weights", "weights")
"""Names, without ending, of the file that counts where there are several, the preferred one first."""
_SHARD: Final = re.compile(r"-\d+-of-\d+(?=\.h5$)")
_BESIDE_ONNX: Final = re.compile(r"[._]data(?:_\d+)?$")
"""What the name of an ONNX file's tensors in a file apart adds to its own."""


def other_container(name: str) -> OtherContainer | None:
    """Which kind of such a file a name says, or None."""
    return next((c for c, ends in OTHER_SUFFIXES.items() if name.endswith(ends)), None)


def is_surely_a_model(name: str) -> bool:
    """True for names of such files that no data set would have."""
    return bool(_MODELS.search(name))


def is_data_of(name: str, file: str) -> bool:
    """True when `name` is what the ONNX file `file` calls its tensors' file by default."""
    return name.startswith(file) and bool(_BESIDE_ONNX.fullmatch(name[len(file) :]))


def choose_others(
    names: Iterable[str], where: str
) -> tuple[OtherContainer, tuple[str, ...], dict[str, str]] | None:
    """(kind, files to read, reason by file that is not) of a folder without other weights.

    What lies highest counts, one kind of it. None when there is no such file; CheckpointError when there are
    several and none of a usual name.
    """
    by_kind: dict[OtherContainer, list[str]] = {}
    for name in sorted(names):
        kind = other_container(name)
        if kind is not None:
            by_kind.setdefault(kind, []).append(name)
    if not by_kind:
        return None
    depth = min(name.count("/") for inside in by_kind.values() for name in inside)
    highest_of = {
        kind: [name for name in by_kind.get(kind, ()) if name.count("/") == depth]
        for kind in OTHER_SUFFIXES
    }
    kind, highest = next((kind, inside) for kind, inside in highest_of.items() if inside)
    chosen = _one_model(kind, highest, where)
    others = [name for inside in by_kind.values() for name in inside if name not in chosen]
    read = f"{chosen[0]}{', ...' if len(chosen) > 1 else ''}"
    return kind, tuple(chosen), dict.fromkeys(others, f"not read beside {read}")


def _one_model(kind: OtherContainer, files: list[str], where: str) -> list[str]:
    """The files among `files` that are one model: a whole one, its shards, or arrays in files apart."""
    if kind == "numpy" and all(name.endswith(".npy") for name in files):
        return files
    stems: dict[str, list[str]] = {}
    for name in files:
        stem = _SHARD.sub("", name.rpartition("/")[2]).rpartition(".")[0]
        stems.setdefault(stem, []).append(name)
    if len(stems) == 1:
        return next(iter(stems.values()))
    usual = next((stem for stem in _USUAL if stem in stems), None)
    if usual is None:
        raise CheckpointError(
            f"{where} holds {len(stems)} models ({', '.join(files[:3])}{', ...' if len(files) > 3 else ''}); "
            "wanted one: name its file"
        )
    return stems[usual]
