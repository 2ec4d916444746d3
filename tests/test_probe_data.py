"""Given data as probes, a unit cut into tasks, and the Hub that a model came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from catalog.read import views
from jobs.errors import SpecError
from jobs.probe import run as probing
from jobs.probe.choose import Which, probe_units, target_of
from jobs.probe.endpoint import endpoint_of
from jobs.probe.given import given_data
from jobs.probe.work import ProbeTask, cut, joined, probe_task
from jobs.spec.load import parse_spec
from tests.conftest import Zoo
from tests.test_probe_cost import network_of
from tests.test_probes import put_mlp
from zoo.errors import UseError
from zoo.probes.given import with_data
from zoo.probes.layer import batches
from zoo.probes.network import UnprobeableError
from zoo.probes.options import ProbeOptions

TOKENS = np.random.default_rng(0).integers(0, 60, (10, 6))


def written(folder: Path, kind: str) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    path = folder / f"probes{kind}"
    if kind == ".npz":
        np.savez(path, input_ids=TOKENS)
    elif kind == ".npy":
        np.save(path, TOKENS)
    elif kind == ".safetensors":
        save_file({"input_ids": TOKENS}, path)
    else:
        pq.write_table(pa.table({"input_ids": TOKENS.tolist(), "text": ["a"] * 10}), path)
    return path


@pytest.mark.parametrize("kind", [".npz", ".npy", ".safetensors", ".parquet"])
def test_given_tokens_take_the_place_of_random_ones(kind: str, tmp_path: Path) -> None:
    given = given_data(str(written(tmp_path, kind)))
    network = with_data(network_of("gpt2"), given.read(), given.label, seed=0)
    fed = list(batches(network, ProbeOptions(num_probes=8)))
    ids = torch.cat([inputs["input_ids"] for inputs in fed])
    assert len(ids) == 8 and {tuple(row) for row in ids.tolist()} <= {
        tuple(row) for row in TOKENS.tolist()
    }
    assert all(inputs["attention_mask"].shape == inputs["input_ids"].shape for inputs in fed)
    assert network.logits(fed[0]).shape[0] == len(fed[0]["input_ids"])
    assert (network.probe_kind, network.label) == ("data", f"probes{kind} {given.sha256[:12]}")
    again = with_data(network_of("gpt2"), given.read(), "x", seed=0)
    assert torch.equal(again.sample(4)["input_ids"], network.sample(4)["input_ids"])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"input_ids": TOKENS + 60}, "the vocabulary of GPT2LMHeadModel has 64"),
        ({"input_ids": TOKENS / 2}, "wanted whole numbers"),
        ({"input_ids": TOKENS[0]}, "wanted 2 axes"),
        ({"input_ids": TOKENS[:1]}, "two or more"),
        ({"input_ids": TOKENS, "attention_mask": TOKENS[:3]}, "wanted as many of each"),
        ({"a": TOKENS, "b": TOKENS}, "wanted one called input_ids"),
    ],
)
def test_data_that_does_not_fit_says_why(
    arrays: dict[str, np.ndarray[Any, Any]], words: str
) -> None:
    with pytest.raises(UnprobeableError, match=words):
        with_data(network_of("gpt2"), arrays, "d.npz", seed=0)


def test_files_that_are_no_data_are_bad_use(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no archive")
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object))
    for name, words in (
        ("x.npz", "cannot be read"), ("o.npy", "cannot be read"), ("a.csv", "wanted a file of .npz"),
        ("gone.npz", "No such file"),
    ):  # fmt: skip
        with pytest.raises(UseError, match=words):
            given_data(str(tmp_path / name)).read()
    before = given_data(str(written(tmp_path, ".npy")))
    np.save(before.path, TOKENS + 1)
    with pytest.raises(UseError, match="has changed since the run began"):
        before.read()


def test_a_spec_finds_its_data_beside_itself(tmp_path: Path) -> None:
    text = "[[source]]\npath = 'x'\n[probes]\ndata = 'd.npz'\nworkers = 2\nmemory = '3GB'\n[run]\nworkers = 9\n"
    spec = parse_spec(text, folder=tmp_path)
    assert spec.probes.data == str(tmp_path / "d.npz")
    run = probing._of_probes(spec)
    assert (run.workers, run.memory, run.gpus) == (2, 3_000_000_000, 0.0)
    with pytest.raises(SpecError, match=r"probes\.gpus"):
        parse_spec(text.replace("workers = 2", "gpus = -1"), folder=tmp_path)


def test_values_are_the_same_however_a_unit_is_cut(tmp_path: Path, zoo: Zoo) -> None:
    put_mlp(tmp_path / "deep", widths=(40, *[44] * 8, 10))
    assert zoo("sweep", tmp_path / "deep", "--out", tmp_path / "cat", "-j", 1, "--quiet") == 0
    with views.connect(str(tmp_path / "cat")) as con:
        (unit,) = probe_units(con, Which())
    options = ProbeOptions(num_probes=8, max_traps_per_layer=1)
    task = ProbeTask(
        target_of(unit), unit.selection, unit.options, options, unit.traps, None, 1, True
    )
    pieces = cut(task, 5)
    assert [piece.group for piece in pieces] == [0, 1]  # nine layers: two tasks of four and more
    assert [piece.diagnostics for piece in pieces] == [True, False]
    assert sorted(p for piece in pieces for p in piece.traps) == sorted(task.traps)
    assert joined([probe_task(piece) for piece in pieces]) == joined([probe_task(task)])
    assert cut(task, 1) == (task,)
    with_budget = ProbeTask(
        target_of(unit), unit.selection, unit.options,
        ProbeOptions(budget_s=9.0), unit.traps, None, 1, True,
    )  # fmt: skip
    assert len(cut(with_budget, 5)) == 1


def test_a_model_of_another_hub_is_asked_for_there() -> None:
    spec = (
        "[[source]]\nhub = 'a/b'\nendpoint = 'http://one.example'\n"
        "[[source]]\nhub = 'c/d'\n[[source]]\nquery = {author = 'e'}\nendpoint = 'http://two.example'\n"
    )
    assert endpoint_of(spec, "hub:a/b@main", "a/b") == "http://one.example"
    assert endpoint_of(spec, "hub:c/d@main", "c/d") is None
    assert endpoint_of(spec, "query:e/f", "e/f") == "http://two.example"
    assert endpoint_of(None, "hub:a/b@main", "a/b") is None
    assert endpoint_of("no toml [", "hub:a/b@main", "a/b") is None
