"""A model without some of its traps, written as a folder: the weights changed, all else copied."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.read import views
from catalog.read.model_page import find_model
from jobs.probe.choose import ProbeUnit, Which, probe_units, target_of
from zoo.errors import UseError
from zoo.io.files import read_bytes
from zoo.io.store import Store
from zoo.io.weight_files import is_weight_file

_MOST_COPIED_BYTES = 64 << 20
"""Files beside the weights up to this size are copied: settings, tokenizers, the card."""
_NOT_COPIED = (".index.json", ".h5", ".msgpack", ".onnx", ".npz", ".pt2", ".pkl")


@dataclass(frozen=True, slots=True)
class Ablated:
    """A layer and the traps of its first shuffle that are taken out."""

    layer: str
    """Name of the tensor, or the number of the layer."""
    traps: tuple[int, ...]
    """`trap_index`, from 1."""


def parse_ablated(text: str) -> list[Ablated]:
    """`LAYER:TRAP[,LAYER:TRAP…]`; UseError for anything else."""
    traps: dict[str, list[int]] = {}
    for piece in text.split(","):
        layer, colon, trap = piece.strip().rpartition(":")
        if not colon or not layer or not trap.isdigit() or int(trap) < 1:
            raise UseError(
                f"--ablate: got {piece!r}; wanted LAYER:TRAP, such as fc2.weight:1 (the name or number of a "
                "layer, and trap_index from 1)"
            )
        traps.setdefault(layer, []).append(int(trap))
    return [Ablated(layer, tuple(dict.fromkeys(of_layer))) for layer, of_layer in traps.items()]


def save_without(root: str, model: str, ablated: Sequence[Ablated], folder: Path) -> list[str]:
    """Write `model` of the catalog `root` to `folder` without those traps; what was changed, in words.

    UseError for a model without such traps, weights that were stored in codes, and a folder that is not
    empty.
    """
    import torch
    from safetensors.torch import save_file

    from zoo.measure.model import open_model
    from zoo.probes.removal import change_without
    from zoo.probes.sites import find_site

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UseError(f"--save: got {str(folder)!r}, which is there already; wanted a new folder")
    unit = _unit(root, model)
    target = target_of(unit)
    if target.failure is not None:
        raise UseError(target.failure.message)
    told: list[str] = []
    with target.reading() as store:
        opened = open_model(store, unit.selection)
        state = {name: opened.checkpoint.read(name) for name in opened.tensors}
        for item in ablated:
            spec = next(
                (s for s in opened.specs if item.layer in (s.tensor, str(s.layer_index))), None
            )
            stored = {t[2] for t in unit.traps if spec and t[:2] == (spec.layer_index, 0)}
            if spec is None or spec.weight is None or not set(item.traps) <= stored:
                have = ", ".join(map(str, sorted(stored))) or "none"
                raise UseError(
                    f"--ablate: got {item.layer}:{max(item.traps)}; the traps of that layer are {have}"
                )
            if spec.weight.decoder != "none" or spec.num_slices != 1:
                raise UseError(
                    f"--ablate: {item.layer} is stored in codes or a convolution; wanted a plain matrix"
                )
            matrix = spec.load(opened.checkpoint)[0]
            name = spec.weight.sources[0]
            site = find_site({name: state[name]}, matrix, name=name)
            assert site is not None, "a plain matrix is a part of its tensor"
            ranks = [index - 1 for index in item.traps]
            site.add(
                state[name],
                change_without(matrix, spec, ranks, place=0, seed=unit.options.seed),
            )
            numbers = ", ".join(map(str, item.traps))
            told.append(f"{spec.tensor}{f' ({spec.part})' if spec.part else ''}: trap {numbers}")
        folder.mkdir(parents=True, exist_ok=True)
        whole: dict[str, torch.Tensor] = {n: t.contiguous().clone() for n, t in state.items()}
        save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
        _copy_rest(store, folder, unit, told)
    return told


def _unit(root: str, model: str) -> ProbeUnit:
    with views.connect(root) as con:
        ref = find_model(con, model)
        units = probe_units(con, Which(ids=frozenset({ref.model_id}), again=True))
    named = [unit for unit in units if unit.keys["revision"] == ref.revision]
    if not named:
        raise UseError(f"{ref.model_id} has no traps in this catalog")
    return named[0]


def _copy_rest(store: Store, folder: Path, unit: ProbeUnit, told: Sequence[str]) -> None:
    """Settings and tokenizer as they are; the card with a word on what was changed."""
    files: Mapping[str, int] = store.files()
    for name, size in files.items():
        is_plain = "/" not in name and size <= _MOST_COPIED_BYTES and name != "README.md"
        if is_plain and not is_weight_file(name) and not name.endswith(_NOT_COPIED):
            with contextlib.closing(store.open(name)) as file:
                (folder / name).write_bytes(read_bytes(file, 0, size))
    card = ""
    if 0 < files.get("README.md", 0) <= _MOST_COPIED_BYTES:
        with contextlib.closing(store.open("README.md")) as file:
            card = read_bytes(file, 0, files["README.md"]).decode("utf-8", "replace")
    changes = "\n".join(f"- {line}" for line in told)
    keys = unit.keys
    note = (
        f"\n## Correlation Traps replaced\n\nMade from {keys['model_id']} at {keys['revision']} by Spectral "
        "Zoo: the traps named here were replaced by Gaussian matrices of their mean and spread. Evaluations "
        f"above are of the model before that.\n\n{changes}\n"
    )
    (folder / "README.md").write_text(card + note, encoding="utf-8")
