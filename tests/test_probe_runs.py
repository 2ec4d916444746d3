"""`zoo probe` over real catalogs: verdicts into the rows, on both runners, and all that can go wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jobs.__main__ import run
from jobs.probe.given import given_data
from jobs.probe.run import num_active
from tests.conftest import Zoo
from tests.test_probes import normal, put_mlp
from tests.test_sweep import ask
from tests.tiny_models import build

Output = pytest.CaptureFixture[str]
FEW = ("--num-probes", 16, "-j", 1)
VERDICTS = """
select model_id, layer_index, replicate, trap_index, jsd, jsd_stderr, jsd_control_p95, verdict, probe_reason
from traps order by all
"""


@pytest.fixture(scope="module")
def swept_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of two perceptrons with traps."""
    root = tmp_path_factory.mktemp("probes")
    put_mlp(root / "zoo" / "one")
    put_mlp(root / "zoo" / "two", widths=(40, 44, 10))
    arguments = ["sweep", str(root / "zoo"), "--out", str(root / "cat"), "-j", "1", "--quiet"]
    assert run(arguments) == 0
    return root / "cat"


@pytest.fixture
def swept(swept_once: Path, tmp_path: Path) -> Path:
    """A copy of it; the models stay where they are."""
    shutil.copytree(swept_once, tmp_path / "cat")
    return tmp_path / "cat"


def test_verdicts_go_into_the_rows_of_the_traps(swept: Path, zoo: Zoo, capsys: Output) -> None:
    before = ask(swept, "select * exclude (sweep_id, num_active_traps) from layers order by all")
    traps = ask(
        swept, "select model_id, layer_index, eigenvalue, top5_mass from traps order by all"
    )
    assert zoo("probe", swept, *FEW) == 0
    assert "units to probe" in capsys.readouterr().err
    probed = ask(swept, VERDICTS)
    for row in probed:
        jsd, band, verdict, reason = row[4], row[6], row[7], row[8]
        if verdict == "unprobed":
            assert jsd is None and "max_traps_per_layer: 4" in reason
        else:
            assert verdict == ("active" if jsd > band else "benign")
    active = ask(swept, "select model_id, layer_index, num_active_traps from layers")
    assert all(count is not None for *_, count in active)
    same = "select * exclude (sweep_id, num_active_traps) from layers order by all"
    assert ask(swept, same) == before
    again = "select model_id, layer_index, eigenvalue, top5_mass from traps order by all"
    assert ask(swept, again) == traps
    assert zoo("check", swept) == 0
    assert zoo("compact", swept, "--quiet") == 0
    assert ask(swept, VERDICTS) == probed
    assert zoo("refit", swept, "-j", 1, "--quiet") == 0
    assert ask(swept, VERDICTS) == probed


def test_the_same_command_again_has_nothing_to_do_and_changes_no_value(
    swept: Path, zoo: Zoo, capsys: Output
) -> None:
    assert zoo("probe", swept, "one", *FEW) == 0
    capsys.readouterr()
    assert zoo("probe", swept, *FEW) == 0
    assert "1 units to probe" in capsys.readouterr().err
    assert zoo("probe", swept, *FEW) == 0
    assert "0 units to probe" in capsys.readouterr().err
    before = ask(swept, VERDICTS)
    assert zoo("probe", swept, "--again", "--top", 1, *FEW) == 0
    assert "1 units to probe" in capsys.readouterr().err
    assert zoo("probe", swept, "--diagnostics", *FEW) == 0
    assert "2 units to probe" in capsys.readouterr().err
    asked = "select activation_sparsity, circuit_complexity, diagnostics_data from models"
    for sparsity, complexity, data in ask(swept, asked):
        assert 0 < sparsity < 1 and complexity > 0 and data == "gaussian"  # type: ignore[operator]
    assert ask(swept, VERDICTS) == before
    assert zoo("compact", swept, "--quiet") == 0
    assert ask(swept, VERDICTS) == before
    assert zoo("refit", swept, "-j", 1, "--quiet") == 0
    assert ask(swept, VERDICTS) == before


def test_a_sweep_that_asks_for_probes_ends_with_verdicts(tmp_path: Path, zoo: Zoo) -> None:
    put_mlp(tmp_path / "one")
    spec = tmp_path / "s.toml"
    spec.write_text(
        "[[source]]\npath = 'one'\n[probes]\nenabled = true\nnum_probes = 16\nmax_traps_per_layer = 1\n"
        "[run]\nworkers = 1\n"
    )
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "--quiet") == 0
    asked = "select distinct num_probes from traps where verdict <> 'unprobed'"
    assert ask(tmp_path / "cat", asked) == [(16,)]


@pytest.mark.ray
def test_values_are_the_same_on_ray(swept: Path, zoo: Zoo, ray_session: None) -> None:
    other = swept.with_name("other")
    shutil.copytree(swept, other)
    assert zoo("probe", swept, "two", *FEW) == 0
    assert zoo("probe", other, "two", *FEW, "--runner", "ray") == 0
    assert ask(other, VERDICTS) == ask(swept, VERDICTS)


def test_weights_that_were_changed_are_a_reason_in_every_row(
    swept: Path, swept_once: Path, zoo: Zoo
) -> None:
    folder = swept_once.parent / "zoo" / "one"
    shutil.copytree(folder, swept / "before")
    put_mlp(folder, widths=(40, 40, 10))
    try:
        assert zoo("probe", swept, "one", *FEW) == 0
    finally:
        shutil.copytree(swept / "before", folder, dirs_exist_ok=True)
    reasons = ask(swept, "select distinct probe_reason from traps where model_id = 'local/one'")
    assert len(reasons) == 1 and "is not what was swept any more" in reasons[0][0]


def test_rows_say_which_data(swept: Path, zoo: Zoo, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", features=normal(20, 40).numpy())
    given = given_data(str(tmp_path / "d.npz"))
    command = ("probe", swept, "two", *FEW, "--data", tmp_path / "d.npz", "--diagnostics")
    assert zoo(*command) == 0
    asked = (
        "select distinct probe_kind, probe_data, num_probes from traps where verdict <> 'unprobed'"
    )
    assert ask(swept, asked) == [("data", given.label, 16)]
    on = "select diagnostics_data from models where model_id = 'local/two'"
    assert ask(swept, on) == [(f"data: {given.label}",)]
    assert zoo("check", swept) == 0


def test_a_folder_that_is_away_for_a_while_is_no_reason_that_stays(
    swept: Path,
    swept_once: Path,
    zoo: Zoo,
    capsys: Output,
) -> None:
    folder = swept_once.parent / "zoo" / "one"
    shutil.move(folder, swept_once.parent / "away")
    try:
        assert zoo("probe", swept, "one", *FEW) == 1
    finally:
        shutil.move(swept_once.parent / "away", folder)
    assert "local/one: data: " in capsys.readouterr().err
    assert ask(swept, "select count(*) from traps where probe_reason is not null") == [(0,)]
    assert zoo("probe", swept, "one", *FEW) == 0
    assert {row[7] for row in ask(swept, VERDICTS) if row[0] == "local/one"} > {"unprobed"}


def test_a_network_that_nothing_can_build_is_a_reason_and_the_others_go_on(
    tmp_path: Path, zoo: Zoo
) -> None:
    put_mlp(tmp_path / "zoo" / "good")
    odd = put_mlp(tmp_path / "zoo" / "odd")
    (odd / "config.json").write_text(json.dumps({"model_type": "x", "architectures": ["NoSuch"]}))
    cat = tmp_path / "cat"
    assert zoo("sweep", tmp_path / "zoo", "--out", cat, "-j", 1, "--quiet") == 0
    assert zoo("probe", cat, *FEW) == 0
    verdicts = dict(
        ask(cat, "select model_id, bool_or(verdict <> 'unprobed') from traps group by 1")
    )
    assert verdicts == {"local/good": True, "local/odd": False}
    why = "select distinct probe_reason from traps where model_id = 'local/odd'"
    assert "knows no NoSuch" in ask(cat, why)[0][0]


def test_a_network_larger_than_the_workers_is_a_reason(
    swept: Path, swept_once: Path, zoo: Zoo, tmp_path: Path
) -> None:
    spec = tmp_path / "s.toml"
    spec.write_text(
        f"[[source]]\npath = '{swept_once.parent / 'zoo'}'\n[probes]\nenabled = true\n"
        "[run]\nworkers = 1\nmemory = '100MB'\n"
    )
    assert zoo("sweep", spec, "--out", swept, "--quiet") == 0
    reasons = ask(swept, "select distinct probe_reason from traps")
    assert len(reasons) == 1 and "the network needs about" in reasons[0][0]


def test_a_transformer_is_probed_from_its_folder(tmp_path: Path, zoo: Zoo) -> None:
    import torch

    model = build("gpt2")
    with torch.no_grad():
        model.get_parameter("transformer.h.0.attn.c_attn.weight")[3, 40] += 3
    model.save_pretrained(tmp_path / "gpt")
    cat = tmp_path / "cat"
    assert zoo("sweep", tmp_path / "gpt", "--out", cat, "-j", 1, "--quiet") == 0
    assert zoo("probe", cat, *FEW, "--position", "all", "--length", 8) == 0
    rows = ask(cat, "select distinct probe_kind, part from traps where verdict <> 'unprobed'")
    assert ("random_tokens", "k") in rows


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nosuch",), "which the catalog does not hold"),
        (("--family", "llama"), "--family: got 'llama'"),
        (("--num-probes", 1), "num_probes: got 1"),
        (("--top", 0), "--top: got 0"),
        (("one", "--factory", "nosuch:x", "-j", 1), "wanted package.module:function"),
    ],
)
def test_bad_use_is_named(
    swept: Path, zoo: Zoo, capsys: Output, arguments: tuple[object, ...], words: str
) -> None:
    assert zoo("probe", swept, *arguments) in (1, 2)
    assert words in capsys.readouterr().err


def test_active_traps_are_counted_a_shuffle() -> None:
    def row(replicate: int, verdict: str) -> dict[str, object]:
        return {"replicate": replicate, "verdict": verdict}

    assert num_active([row(0, "active"), row(0, "benign"), row(1, "active")]) == 1.0
    assert num_active([row(0, "benign"), row(4, "unprobed")]) == 0.0
    assert num_active([row(0, "unprobed")]) is None


def test_active_traps_are_on_the_board_and_along_a_run(
    tmp_path: Path, zoo: Zoo, capsys: Output
) -> None:
    for step in (1, 2):
        put_mlp(tmp_path / "run" / f"step{step}")
    spec = tmp_path / "s.toml"
    spec.write_text("[[source]]\npath = 'run/*'\nstep_pattern = 'step(\\d+)'\n[run]\nworkers = 1\n")
    cat = tmp_path / "cat"
    assert zoo("sweep", spec, "--out", cat, "--quiet") == 0
    assert zoo("probe", cat, "--diagnostics", *FEW) == 0
    capsys.readouterr()
    assert zoo("rank", "traps", cat, "--min-layers", 1, "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    (total,) = ask(cat, "select sum(num_active_traps) from layers where step = 2")[0]
    assert row["total_active_traps"] == total
    steps = ask(cat, "select step, total_active_traps, activation_sparsity > 0 from trajectories")
    assert steps == [(1, total, True), (2, total, True)]
    assert zoo("show", cat, "run", "--plot", tmp_path / "pictures", "--quiet") == 0
    assert (tmp_path / "pictures" / "trajectory.png").stat().st_size > 10_000
