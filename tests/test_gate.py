"""The gate: limits, breaches, a baseline, reports for CI, and the hooks that run it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from catalog.errors import QueryError
from catalog.read.gate import Limits, judge
from tests.catalogs import ROOT, commit
from tests.conftest import Zoo


def layer(name: str = "a", **columns: object) -> dict[str, Any]:
    return {"tensor": name, "part": None, "expert": None, "status": "ok", "reason": None, "tied_to": None,
            "alpha": 3.0, "num_traps": 0.0, "erg_log_ratio": 0.5, **columns}  # fmt: skip


def broken(limits: Limits, *layers: dict[str, Any], **options: Any) -> list[tuple[str, str]]:
    found = judge("m", layers, limits, **options)
    return [(breach.tensor, breach.check) for breach in found.breaches]


@pytest.mark.parametrize(
    ("limits", "columns", "check"),
    [
        (Limits(max_traps=1), {"num_traps": 1.4}, "max-traps"),
        (Limits(alpha=(2, 6)), {"alpha": 1.9}, "alpha"),
        (Limits(alpha=(2, 6)), {"alpha": 6.1}, "alpha"),
        (Limits(max_alignment=1), {"erg_log_ratio": -1.5}, "max-alignment"),
        (Limits(max_traps=0), {"status": "failed", "reason": "torn"}, "measured"),
    ],
)
def test_a_layer_beyond_a_limit_breaks_it(
    limits: Limits, columns: dict[str, object], check: str
) -> None:
    assert broken(limits, layer(), layer("b", **columns)) == [("b", check)]


def test_a_number_at_the_limit_passes_and_one_that_is_missing_is_counted() -> None:
    limits = Limits(max_traps=0, alpha=(3, 3), max_alignment=0.5)
    found = judge("m", [layer(), layer("b", alpha=None), layer("c", tied_to="a", alpha=9.0),
                        layer("d", status="skipped", alpha=9.0)], limits)  # fmt: skip
    assert found.passed and found.num_layers == 2
    assert found.num_unjudged == 2, "alpha, and the alignment that stands on it"


def test_a_model_without_a_layer_does_not_pass() -> None:
    assert broken(Limits(max_traps=0)) == [("", "measured")]


def test_with_a_baseline_only_what_is_worse_breaks_a_limit() -> None:
    before = [layer("a", num_traps=2.0), layer("b", num_traps=2.0), layer("c", num_traps=0.0)]
    now = [layer("a", num_traps=2.0), layer("b", num_traps=3.0), layer("c", num_traps=1.0),
           layer("new", num_traps=1.0)]  # fmt: skip
    found = judge("m", now, Limits(max_traps=0), baseline=before)
    assert [breach.tensor for breach in found.breaches] == [
        "b",
        "c",
        "new",
    ] and found.num_known == 1
    assert found.breaches[0].why == "Correlation Traps 3, wanted at most 0; the baseline has 2"
    assert found.breaches[2].why.endswith("the baseline has no such number")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "at least one of --max-traps"),
        ({"max_traps": -1.0}, "--max-traps: got -1"),
        ({"alpha": (6.0, 2.0)}, "--alpha: got 6:2"),
    ],
)
def test_limits_that_say_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Limits(**options)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gate") / "cat"
    commit(str(root), "org/good", layers=[{}] * 3)
    commit(
        str(root),
        "org/bad",
        layers=[{}, {"num_traps": 2.0, "alpha": 7.0, "tensor": "<b>&\x1b[31m"}],
    )
    return root


def test_a_catalog_is_gated_with_reports(
    root: Path, tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    junit, report = tmp_path / "gate.xml", tmp_path / "gate.json"
    limits = ("--max-traps", "0", "--alpha", "2:6")
    assert zoo("gate", root, *limits, "--junit", junit, "--json", report, "--format", "csv") == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3 and "\x1b" not in out
    assert "org/bad@ffff" in err and "FAILED: 2 limits broken (2 layers)" in err
    told = json.loads(report.read_text())
    assert (told["passed"], told["limits"]["alpha"]) == (False, [2, 6])
    assert [(m["passed"], len(m["breaches"])) for m in told["models"]] == [(False, 2), (True, 0)]
    bad, good = ElementTree.parse(junit).getroot()
    assert (bad.get("tests"), bad.get("failures"), good.get("failures")) == ("2", "1", "0")
    (failure,) = bad.iter("failure")
    assert failure.get("type") == "max-traps, alpha" and "wanted 2 to 6" in (failure.text or "")
    assert zoo("gate", root, "good", *limits) == 0
    assert zoo("gate", root, "bad", *limits, "--baseline", "org/bad") == 0
    assert "2 as in the baseline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--alpha", "2-6"), "--alpha: got '2-6'; wanted LO:HI, such as 2:6"),
        (("--max-traps", "0", "--baseline", "nobody"), "no model 'nobody' in the catalog"),
        ((), "wanted at least one of --max-traps"),
    ],
)
def test_bad_use_is_no_broken_limit(
    root: Path,
    arguments: tuple[str, ...],
    message: str,
    zoo: Zoo,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert zoo("gate", root, *arguments) == 2
    assert message in capsys.readouterr().err


def test_the_pre_commit_hook_stops_a_file_with_a_trap(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hook's own entry and arguments, on two files as pre-commit names them."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert re.search(hook["files"], "models/a.safetensors") and not re.search(hook["files"], "a.py")
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((120, 80)).astype(np.float32) / 10
    spiked = clean.copy()
    spiked[3, 5] = 30.0
    for name, weight in (("clean", clean), ("spiked", spiked)):
        save_file({"fc.weight": weight}, tmp_path / f"{name}.safetensors")
    command, *entry = shlex.split(hook["entry"])
    assert command == "zoo" and hook["require_serial"]
    files = [tmp_path / "clean.safetensors", tmp_path / "spiked.safetensors"]
    assert zoo(*entry, *hook["args"], files[0]) == 0
    assert zoo(*entry, *hook["args"], *files, "--format", "csv") == 1
    out = capsys.readouterr().out
    assert "local/spiked" in out and "local/clean" not in out


def test_the_action_runs_the_gate_with_what_it_is_given(tmp_path: Path) -> None:
    """Its script in bash, with a `zoo` that says how it was called; no input is run as shell."""
    action = yaml.safe_load((ROOT / "deploy" / "gate" / "action.yml").read_text())
    step = action["runs"]["steps"][-1]
    assert set(re.findall(r"inputs\.([\w-]+)", json.dumps(step["env"]))) <= set(action["inputs"])
    assert "${{" not in step["run"], "inputs reach the script as variables alone"
    given = {"SOURCE": "a model; touch pwned", "MAX_TRAPS": "0", "ALPHA": "", "MAX_ALIGNMENT": "",
             "BASELINE": "$(touch pwned)", "JUNIT": "j.xml", "JSON": "j.json"}  # fmt: skip
    assert set(given) == set(step["env"])
    script = 'zoo() { printf "%s\\n" "$@"; return 1; }\n' + step["run"]
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env={**os.environ, **given},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and not (tmp_path / "pwned").exists()
    assert done.stdout.splitlines() == [
        "gate", given["SOURCE"], "--junit", "j.xml", "--json", "j.json", "--max-traps", "0",
        "--baseline", given["BASELINE"],
    ]  # fmt: skip
