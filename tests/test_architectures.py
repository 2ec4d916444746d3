"""Every architecture that the installed `transformers` has, tensor by tensor, against its modules."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

import pytest
import torch

from tests.architecture_exceptions import NOT_BUILT, NOT_SO, OTHERWISE_ON_DISK
from tests.architectures import Architecture, CannotBuildError, build, model_types, stored_tensors
from tests.module_oracle import Truth, truths
from zoo.formats.leftovers import leftover, no_weight
from zoo.formats.weight import Account, Entry, Weight
from zoo.io.checkpoint import Checkpoint
from zoo.io.dtypes import NATIVE_FLOATS
from zoo.io.header import RowRange, TensorMeta
from zoo.io.states_within import states_within
from zoo.io.tensors import dtype_code
from zoo.layers.roles import ROLES
from zoo.layers.spec import LayerSpec, Taken
from zoo.layers.take import take_layers
from zoo.options import LayerSelection

MET: set[str] = set()
"""Exceptions that some architecture needed."""
WALKED: set[str] = set()


@pytest.fixture(scope="module", params=model_types())
def architecture(request: pytest.FixtureRequest) -> Architecture:
    """Every architecture in turn; what cannot be built is skipped if that is known."""
    WALKED.add(request.param)
    try:
        return build(request.param)
    except CannotBuildError as error:
        assert request.param in NOT_BUILT, error
        MET.add(request.param)
        pytest.skip(NOT_BUILT[request.param])


def load_nothing(checkpoint: Checkpoint, rows: RowRange | None = None) -> torch.Tensor:
    raise AssertionError("taking layers must not read weights")


def taken(
    tensors: Mapping[str, tuple[tuple[int, ...], torch.dtype]], config: Mapping[str, object]
) -> Taken:
    """The layers of a checkpoint with these tensors, as after reading its headers."""
    weights, entries = [], []
    for name, (shape, dtype) in tensors.items():
        code = dtype_code(dtype) or "F32"
        meta = TensorMeta(name, code, shape, "model", 0, 0)
        entry = no_weight(meta)
        if entry is None and code in NATIVE_FLOATS and len(shape) > 1:
            weights.append(Weight(name, shape, code, "none", (name,), load_nothing, 0))
            entry = Entry(name, "analysed", None)
        entries.append(entry or leftover(meta))
    stored = {name: shape for name, (shape, _) in tensors.items()}
    return take_layers(
        Account(tuple(weights), tuple(entries)), config, LayerSelection(), stored=stored
    )


def complaints(truth: Truth, layers: list[LayerSpec], entry: Entry) -> Iterator[str]:
    """What is wrong with the layers that were taken from one tensor."""
    if 0 in truth.shape:
        return
    if truth.kind in ("buffer", "vector"):
        if layers or entry.fate not in ("skipped", "companion"):
            yield f"{truth.kind} became {[layer.role for layer in layers]}, {entry}"
        return
    if truth.kind == "parameter":
        if not layers and not entry.reason:
            yield "parameter without a layer or a reason"
        return
    if not layers:
        yield f"{truth.kind} without a layer: {entry.reason}"
        return
    failures = {layer.fail_reason for layer in layers if not layer.is_measurable}
    if failures:
        yield f"{truth.kind} failed: {failures}"
        return
    yield from _wrong_sizes(truth, layers)
    wrong = {layer.role for layer in layers} - (truth.roles or ROLES.keys())
    if wrong:
        yield f"role {wrong}"
    if truth.is_fused and any(layer.part is None and layer.note is None for layer in layers):
        yield "fused, neither split nor with a reason"


def _wrong_sizes(truth: Truth, layers: list[LayerSpec]) -> Iterator[str]:
    values = sum(s.num_slices * (s.rows or 0) * (s.cols or 0) for s in layers)
    if values != math.prod(truth.shape):
        yield f"{values} values in layers, {math.prod(truth.shape)} stored"
    slices = math.prod(truth.shape[2:]) if truth.kind == "convolution" else 1
    if {layer.num_slices for layer in layers} != {slices}:
        yield f"{layers[0].num_slices} slices of {truth.shape}"
    experts = {layer.expert for layer in layers}
    if truth.kind == "stack" and experts != set(range(truth.shape[0])):
        yield f"experts {sorted(map(str, experts))[:3]}... of {truth.shape}"


def test_every_tensor_is_what_its_module_says(architecture: Architecture) -> None:
    tensors = {truth.name: truth for truth in truths(architecture.model)}
    result = taken({n: (t.shape, t.dtype) for n, t in tensors.items()}, architecture.config)
    layers = defaultdict(list)
    for spec in result.specs:
        layers[spec.weight.sources[0] if spec.weight else spec.tensor].append(spec)
    problems = []
    for entry in result.entries:
        truth = tensors[entry.tensor]
        for complaint in complaints(truth, layers[truth.name], entry):
            key = f"{truth.where}: {complaint.split(' ')[0]}"
            known = [pattern for pattern in NOT_SO if fnmatchcase(key, pattern)]
            MET.update(known)
            if not known:
                problems.append(f"{key} | {truth.name} {truth.shape}: {complaint}")
    assert not problems, "\n".join(sorted(set(problems))[:20])


def kind_of_row(layer: LayerSpec) -> tuple[object, ...]:
    """What a layer is, whatever its name and whichever way round it is stored."""
    if not layer.is_measurable:
        return ("no layer", layer.fail_reason or layer.skip_reason)
    return (layer.role, *sorted((layer.rows or 0, layer.cols or 0)), layer.num_slices)


def test_names_on_disk_mean_what_the_modules_mean(architecture: Architecture) -> None:
    """`transformers` stores many models under the names and in the layouts of their releases."""
    live = {n: (tuple(t.shape), t.dtype) for n, t in architecture.model.state_dict().items()}
    stored = stored_tensors(architecture)
    if stored.keys() == live.keys():
        return
    in_modules = Counter(kind_of_row(s) for s in taken(live, architecture.config).specs)
    on_disk = taken(stored, architecture.config).specs
    surplus = Counter(map(kind_of_row, on_disk)) - in_modules
    problems = set()
    for layer in on_disk:
        if kind_of_row(layer) not in surplus:
            continue
        path = re.sub(r"(?<=\.)[0-9]+(?=\.|$)", "#", layer.tensor)
        known = [pattern for pattern in OTHERWISE_ON_DISK if fnmatchcase(path, pattern)]
        MET.update(known)
        if not known:
            problems.add(f"{path} {layer.part} {kind_of_row(layer)} {layer.note}")
    assert not problems, "\n".join(sorted(problems)[:20])


def test_the_parts_of_a_model_are_never_taken_for_states_of_it(architecture: Architecture) -> None:
    on_disk = {name: shape for name, (shape, _) in stored_tensors(architecture).items()}
    live = {name: tuple(t.shape) for name, t in architecture.model.state_dict().items()}
    for shapes in (on_disk, live):
        assert not states_within(TensorMeta(n, "F32", s, "m", 0, 0) for n, s in shapes.items())


def test_no_exception_is_out_of_date() -> None:
    if WALKED != set(model_types()):
        pytest.skip("needs the walk through all architectures")
    assert NOT_SO.keys() | NOT_BUILT.keys() | OTHERWISE_ON_DISK.keys() <= MET
