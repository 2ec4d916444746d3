"""Questions load what they need: nothing that computes, trains, clusters or downloads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.catalogs import ROOT, commit, sweep
from tests.models import weights, write_model

HEAVY = (
    "torch", "ray", "huggingface_hub", "pydantic", "scipy", "numpy", "pyarrow", "pandas", "fsspec",
    "rich", "gguf", "yaml", "psutil",
)  # fmt: skip


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("start") / "cat"
    sweep(str(root), "s1", ["org/a", "org/b"])
    for model in ("org/a", "org/b"):
        commit(str(root), model)
    return root


def test_times_are_answered_without_pandas(catalog: Path) -> None:
    code = (
        "import sys; from jobs.__main__ import run; run(['sql', sys.argv[1], 'from models']);"
        "print('pandas' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(catalog)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert "2026-11-23 12:00:00" in done.stdout and done.stderr == "False\n"


def test_only_a_gguf_file_loads_the_package_for_it(tmp_path: Path) -> None:
    write_model(tmp_path / "model", weights(3, (60, 40)))
    code = (
        "import sys; from jobs.__main__ import run; code = run(['analyze', sys.argv[1], '--quiet']);"
        "print(code, 'gguf' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.split() == ["0", "False"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("rank", "traps", "{}"),
        ("rank", "alpha", "{}", "--where", "num_revisions = 1", "--format", "csv", "--quiet"),
        ("show", "{}", "org/a"),
        ("status", "{}"),
        ("sql", "{}", "select role, median(alpha) from layers_latest group by role"),
        ("sql", "{}", "show tables"),
        ("compare", "{}", "org/a", "org/b", "--format", "md", "--quiet"),
        ("--help",),
        ("rank", "--help"),
    ],
    ids=" ".join,
)
def test_a_question_loads_nothing_heavy(catalog: Path, arguments: tuple[str, ...]) -> None:
    code = (
        "import sys; from jobs.__main__ import run; code = run(sys.argv[1:]);"
        f"loaded = [m for m in {HEAVY!r} if m in sys.modules];"
        "print(code, *loaded, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *(text.format(catalog) for text in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout
    heavy = {"rich"} if "--help" in arguments else set()  # it draws the help
    code_and_loaded = set(done.stderr.split()) - heavy
    assert code_and_loaded == {"0"}
