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


@pytest.mark.parametrize("command", ["plan", "doctor"])
def test_headers_and_facts_are_read_without_what_measures(command: str, tmp_path: Path) -> None:
    write_model(tmp_path / "zoo" / "model", weights(3, (60, 40)))
    (tmp_path / "spec.toml").write_text('[sweep]\nname = "s"\n[[source]]\npath = "zoo/*"\n')
    code = (
        "import sys; from jobs.__main__ import run; code = run(sys.argv[1:]);"
        "loaded = [m for m in ('torch._C', 'scipy', 'pyarrow', 'ray', 'pandas') if m in sys.modules];"
        "print('loaded', code, *loaded, file=sys.stderr)"
    )
    subject = [str(tmp_path / "spec.toml")] if command == "plan" else []
    command_line = [sys.executable, "-c", code, command, *subject]
    done = subprocess.run(command_line, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.splitlines()[-1] == "loaded 0", done.stderr


_LATER = """
import sys, threading
from zoo.machine.later import torch_when_used
torch_when_used()
import torch
from zoo.formats.bits import E2M1, look_up
assert "torch._C" not in sys.modules
sums = []
def work():
    codes = torch.tensor([1, 2], dtype=torch.uint8)
    sums.append(float(look_up(codes, E2M1).sum()))
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
import torch.nn.functional
assert isinstance(torch.zeros(2), sys.modules["torch"].Tensor)
torch_when_used()
print(sums)
"""


def test_torch_comes_with_its_first_use_in_any_thread() -> None:
    command = [sys.executable, "-c", _LATER]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[1.5, 1.5, 1.5, 1.5]\n", done.stderr
