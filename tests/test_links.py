"""Links that lead out of a model's folder: a card is left out with the reason, weights are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Zoo
from tests.models import weights, write_model
from tests.test_sweep import ask

CARD = """---
license: mit
model-index:
- name: x
  results:
  - task: {type: t}
    dataset: {name: d, type: d}
    metrics:
    - {type: accuracy, value: 0.5}
---
"""
OUT, NOWHERE = "a link that leads out of the folder", "a link that leads nowhere"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of a small matrix; a card and weights outside it."""
    (tmp_path / "card.md").write_text(CARD)
    write_model(tmp_path / "elsewhere", weights(2, (40, 20)))
    return write_model(tmp_path / "zoo" / "model", weights(1, (40, 20)))


@pytest.mark.parametrize(
    ("target", "reason"), [("../../card.md", OUT), ("gone.md", NOWHERE), ("README.md", NOWHERE)],
    ids=["out", "nowhere", "itself"],
)  # fmt: skip
def test_a_card_behind_a_link_is_left_out_and_the_weights_are_measured(
    folder: Path, target: str, reason: str, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "README.md").symlink_to(target)
    cat = folder.parent / "cat"
    assert zoo("sweep", folder, "--out", cat, "-j", 1) == 0
    assert ask(cat, "select count(*), count(alpha) from layers") == [(1, 1)]
    assert ask(cat, "select count(*) from evaluations") == [(0,)]
    rows = ask(cat, "select tensor, reason, nbytes from tensors where fate = 'left_out'")
    assert rows == [("README.md", reason, 0)]
    capsys.readouterr()
    assert zoo("analyze", folder) == 0
    assert f"1 file not read: README.md ({reason})" in capsys.readouterr().err


def test_a_card_that_comes_in_place_of_its_link_is_another_revision(
    folder: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "README.md").symlink_to("../../card.md")
    cat = folder.parent / "cat"
    assert zoo("sweep", folder, "--out", cat, "-j", 1) == 0
    (folder / "README.md").unlink()
    (folder / "README.md").write_text(CARD)
    assert zoo("sweep", folder, "--out", cat, "-j", 1) == 0
    assert ask(cat, "select count(distinct revision) from models") == [(2,)]
    assert ask(cat, "select value from evaluations") == [(0.5,)]


def test_what_is_no_part_of_a_model_keeps_nobody_from_measuring_it(
    folder: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "log.txt").symlink_to("/nowhere/log.txt")
    (folder / "model.onnx").symlink_to("/nowhere/model.onnx")
    assert zoo("analyze", folder) == 0
    err = capsys.readouterr().err
    assert f"1 file not read: model.onnx ({NOWHERE})" in err  # the others could hold no weights


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_weights_and_configs_behind_a_link_are_refused(
    folder: Path, name: str, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to(folder.parents[1] / "elsewhere" / name)
    assert zoo("analyze", folder) == 1
    assert "leads out of the folder" in capsys.readouterr().err
