"""The prompt of `zoo sql`, typed at in a terminal of 80 columns; and the views in a DuckDB of one's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.read.views import connect
from catalog.read.words import completions, hint, reserved, written
from tests.catalogs import ROOT, commit
from tests.conftest import Zoo
from tests.terminals import Terminal, zoo_at

PROMPT = "zoo> "


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prompt") / "it's a catalog"
    commit(str(root), layers=[{"alpha": 3.0 + i} for i in range(6)])
    return root


@pytest.fixture
def prompt(catalog: Path, tmp_path: Path) -> Iterator[Terminal]:
    """A prompt that waits for the first line."""
    pytest.importorskip("readline")
    terminal = zoo_at(80, "sql", catalog, XDG_STATE_HOME=str(tmp_path / "state"))
    terminal.wait_for(PROMPT)
    yield terminal
    terminal.type("\x04")
    assert terminal.end() == 0


def answer(terminal: Terminal, keys: str, expected: str) -> str:
    """Type `keys`; what came until the next prompt, in which `expected` must be."""
    before = len(terminal.screen)
    terminal.type(keys)
    terminal.wait_for(expected, after=before)
    terminal.wait_for(PROMPT, after=before + len(keys) - 1)
    return terminal.screen[before:]


def test_the_prompt_says_what_there_is(prompt: Terminal) -> None:
    answer(prompt, ".help\r", "Tab completes names")
    answer(prompt, ".tables\r", "layers_latest under WeightWatcher")
    schema = answer(prompt, ".schema traps\r", "The eigenvalue of the shuffled matrix.")
    assert max(map(len, schema.splitlines())) <= 80
    answer(prompt, ".schema nope\r", "no table or view 'nope'; .tables lists them")
    answer(prompt, ".nope\r", "no command '.nope'; .help lists them")


def test_the_prompt_asks_named_questions(prompt: Terminal) -> None:
    answer(prompt, ".questions\r", "What moved between two")
    answer(prompt, '.ask to\t "top=1"\r', "org/a")
    answer(prompt, ".ask top size=1\r", "no parameter 'size'")
    answer(prompt, ".ask 'top\r", "No closing quotation")


def test_tab_completes_views_and_columns(prompt: Terminal) -> None:
    answer(prompt, "select count(*) as n from leaderboard_al\tp\t\r", "leaderboard_alpha")
    answer(prompt, "from layers select erg_log_r\t\r", "erg_log_ratio\n")
    answer(prompt, ".sch\t listin\t\r", "listed_at")


def test_statements_are_remembered_in_the_next_session(catalog: Path, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    state = str(tmp_path / "state")
    for keys in ("select 40 +\r2 as answer;\r", "\x1b[A\r"):  # arrow up
        terminal = zoo_at(80, "sql", catalog, XDG_STATE_HOME=state)
        terminal.wait_for(PROMPT)
        terminal.type(keys)
        terminal.wait_for("answer\n    42")
        terminal.type("exit\r")
        assert terminal.end() == 0
    kept = tmp_path / "state" / "zoo" / "sql_history"
    assert kept.read_text().splitlines() == ["select 40 + 2 as answer;"] * 2
    assert kept.stat().st_mode & 0o077 == 0, "what was asked is nobody else's business"


def test_a_history_that_cannot_be_kept_is_said(catalog: Path, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    (tmp_path / "state").write_text("a file where a folder is wanted")
    terminal = zoo_at(80, "sql", catalog, XDG_STATE_HOME=str(tmp_path / "state"))
    terminal.wait_for(PROMPT)
    terminal.type("exit\r")
    assert terminal.end() == 0 and "history is not kept" in terminal.screen


def test_words_are_completed_by_where_they_stand(catalog: Path) -> None:
    with connect(catalog) as con:
        assert completions(con, "select * from ", "trap") == ["traps"]
        assert "erg_log_ratio" in completions(con, "from layers select ", "erg_l")
        assert completions(con, "from traps t select ", "t.eig") == ["t.eigenvalue"]
        assert completions(con, "", "sel") == ["select"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("select lambda from traps", 'lambda is a reserved word of SQL; as a name it is written "lambda"'),
        ("select lambda from traps", "the column lambda is called eigenvalue now"),
        ("select end from models", 'end is a reserved word of SQL; as a name it is written "end"'),
    ],
)  # fmt: skip
def test_a_reserved_word_is_named_and_quoted(query: str, words: str, catalog: Path) -> None:
    with connect(catalog) as con:
        assert words in hint(con, query)


def test_a_right_query_and_a_hopeless_one_get_no_hint(catalog: Path) -> None:
    with connect(catalog) as con:
        assert hint(con, "select 'lambda' from traps") == ""
        assert hint(con, "selec nonsense, from") == ""
        assert written("group", reserved(con)) == '"group"' and written("D", reserved(con)) == "D"


def test_stock_duckdb_loads_the_views_by_the_line_of_the_page(
    catalog: Path, tmp_path: Path
) -> None:
    programs = Path(sys.executable).parent
    if shutil.which("duckdb", path=str(programs)) is None:
        pytest.skip("duckdb-cli is not installed")
    page = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^\$ (zoo sql results --views .*duckdb .*)$", page, re.MULTILINE)
    (tmp_path / "results").symlink_to(catalog)
    path = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    zoo = f'zoo() {{ {sys.executable} -m jobs "$@"; }}; '
    path["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), path.get("PYTHONPATH")]))
    done = subprocess.run(
        ["bash", "-c", zoo + line],
        cwd=tmp_path,
        env=path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and "org/a" in done.stdout, done.stderr


def test_views_go_without_a_query(
    catalog: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("sql", catalog, "from layers", "--views") == 2
    assert "--views: got it with a query" in capsys.readouterr().err
