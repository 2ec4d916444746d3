"""The notebooks of docs/notebooks answer their questions, by the programs they are written for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "docs/notebooks"


def run(code: str, catalog: Path, *arguments: str) -> str:
    """What a script prints that runs in a process of its own, with the catalog of `tests.sites`."""
    environment = {
        **os.environ, "ZOO_CATALOG": str(catalog), "PYTHONPATH": str(FOLDER.parents[1]), 
        "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=catalog)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_marimo_notebook_answers(made: tuple[Path, Path]) -> None:
    pytest.importorskip("marimo", reason="needs marimo (dev)")
    pytest.importorskip("pandas")
    code = f"""
import sys; sys.path.insert(0, {str(FOLDER)!r})
import three_questions_marimo as notebook
outputs, names = notebook.app.run()
charts = sum("Chart" in type(o).__name__ for o in outputs)
print(len(names["trapped"]), list(names["by_role"]["role"]), len(names["steps"]), len(names["onset"]), charts)
"""
    trapped, *roles, steps, onset, charts = run(code, made[0]).split()
    assert (trapped, steps, onset, charts) == ("12", "3", "1", "3")
    assert "".join(roles) == "['mlp_up','q']"


def test_the_jupyter_notebook_answers(made: tuple[Path, Path]) -> None:
    pytest.importorskip("nbclient", reason="needs nbclient and ipykernel (dev)")
    pytest.importorskip("ipykernel", reason="needs nbclient and ipykernel (dev)")
    pytest.importorskip("pandas")
    code = f"""
import json, nbformat, nbclient
notebook = nbformat.read({str(FOLDER / "three_questions_jupyter.ipynb")!r}, as_version=4)
nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
kinds = [kind for cell in notebook.cells for o in cell.get("outputs", []) for kind in o.get("data", {{}})]
print(json.dumps([kinds.count("image/png"), kinds.count("text/html")]))
"""
    pictures, tables = json.loads(run(code, made[0]).splitlines()[-1])
    assert pictures == 2 and tables >= 4


def test_notebooks_are_kept_without_outputs() -> None:
    stored = json.loads((FOLDER / "three_questions_jupyter.ipynb").read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in stored["cells"])
