"""Tables on real terminals of 80, 100 and 200 columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Zoo
from tests.models import weights, write_model
from tests.terminals import zoo_at

Caught = pytest.CaptureFixture[str]
LONG = "encoder.stage.{}.attention.self.projection.value"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models with long names of tensors, one layer of which differs, swept into `cat`; and a spec."""
    from jobs.__main__ import run

    root = tmp_path_factory.mktemp("terminal")
    for seed, name in ((0, "a-model-with-a-rather-long-name"), (1, "its-fine-tune")):
        tensors = {
            LONG.format(i) + ".weight": value
            for i, value in enumerate(weights(0, *[(40, 30)] * 4).values())
        }
        if seed:
            tensors[LONG.format(2) + ".weight"] *= weights(7, (40, 30))["layers.0.weight"]
        write_model(root / "zoo" / name, tensors)
    (root / "spec.toml").write_text('[sweep]\nname = "s"\n[[source]]\npath = "zoo/*"\n')
    out = ["--out", str(root / "cat"), "-j", "1", "--quiet"]
    assert run(["sweep", str(root / "spec.toml"), *out]) == 0
    return root


COMMANDS = (
    "show cat its-fine-tune", "show cat its-fine-tune --columns *", "rank traps cat", "rank alignment cat",
    "rank alpha cat", "ls cat", "status cat", "plan spec.toml", "plan spec.toml --account", "check cat",
    "compare cat a-model-with-a-rather-long-name its-fine-tune", "sql cat from\\ layers", "doctor",
    "analyze zoo/its-fine-tune", "refit cat --dry-run",
)  # fmt: skip


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_row_is_wider_than_the_terminal(command: str, columns: int, place: Path) -> None:
    words = [word.replace("\\ ", " ") for word in command.replace("\\ ", "\0").split()]
    terminal = zoo_at(columns, *(word.replace("\0", " ") for word in words), cwd=place)
    assert terminal.end() == 0
    table, note = parted(terminal.screen)
    has_rows = bool(table) or command.startswith("refit")  # which prints what moved, here nothing
    assert has_rows and all(len(line) <= columns for line in table), terminal.screen
    assert not note or note.endswith("(--wide shows all, --columns A,B these)")


def parted(screen: str) -> tuple[list[str], str]:
    """Lines of the table, and what is said of the columns that are not in it."""
    lines = screen.splitlines()
    notes = [n for n, line in enumerate(lines) if line.endswith("--columns A,B these)")]
    prose = ("local/", "0 errors", " of ", "numbers moved", "left out to fit")
    table = lines[: notes[0]] if notes else lines
    return [line for line in table if not (len(line) > 80 and any(p in line for p in prose))], (
        lines[notes[0]] if notes else ""
    )


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_the_names_of_layers_are_whole_and_the_main_figures_beside_them(
    columns: int, place: Path
) -> None:
    terminal = zoo_at(columns, "show", "cat", "its-fine-tune", cwd=place)
    assert terminal.end() == 0
    for i in range(4):
        assert LONG.format(i) + ".weight" in terminal.screen
    assert "alpha" in terminal.screen.split(LONG[:20])[0]
    assert ("left out to fit" in terminal.screen) == (columns < 200)


def test_wide_cuts_nothing_and_leaves_nothing_out(place: Path) -> None:
    terminal = zoo_at(80, "show", "cat", "its-fine-tune", "--wide", cwd=place)
    assert terminal.end() == 0
    assert "left out" not in terminal.screen and "stored_dtype" in terminal.screen


def test_columns_and_sort_are_obeyed_in_every_format(place: Path, zoo: Zoo, capsys: Caught) -> None:
    for extra in ((), ("--wide",)):
        options = ("--columns", "tensor,num_rows", "--sort=-layer_index", *extra)
        assert zoo("show", place / "cat", "its-fine-tune", "--format", "json", *options) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [list(row) for row in rows] == [["tensor", "num_rows"]] * 4
        assert [row["tensor"] for row in rows] == [LONG.format(i) + ".weight" for i in (3, 2, 1, 0)]


def test_a_column_that_is_not_there_is_answered_with_the_nearest(
    place: Path, zoo: Zoo, capsys: Caught
) -> None:
    for option in ("--columns", "--sort"):
        assert zoo("show", place / "cat", "its-fine-tune", option, "alpah") == 2
        assert f"{option}: no column 'alpah'; did you mean alpha" in capsys.readouterr().err


def test_compare_leads_with_what_differs(place: Path) -> None:
    names = ("a-model-with-a-rather-long-name", "its-fine-tune")
    terminal = zoo_at(80, "compare", "cat", *names, cwd=place)
    assert terminal.end() == 0
    rows = [line for line in terminal.screen.splitlines() if line.startswith("encoder")]
    assert rows[0].startswith(LONG.format(2)) and len(rows) == 4
    assert "1 of 4 layers of both differ" in terminal.screen


def test_a_table_in_a_pipe_keeps_every_column_whole(place: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("show", place / "cat", "its-fine-tune") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()[0].split()) == 25 and err == ""


def test_the_words_around_a_board_fit_too(place: Path) -> None:
    terminal = zoo_at(80, "rank", "traps", "cat", cwd=place)
    assert terminal.end() == 0
    lines = [line for line in terminal.screen.splitlines() if "--columns A,B" not in line]
    assert "Verdict" in terminal.screen and max(map(len, lines)) <= 80
