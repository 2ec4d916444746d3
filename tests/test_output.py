"""Tables as they look on a terminal and in a file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from jobs.screen.output import print_rows

Rows = list[dict[str, object]]
Printed = Callable[[Rows], list[str]]


class Screen(io.StringIO):
    """A terminal that remembers what was written."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> Printed:
    """Rows -> the lines on a terminal of 60 columns."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def call(rows: Rows) -> list[str]:
        screen = Screen()
        monkeypatch.setattr("sys.stdout", screen)
        print_rows(rows, columns=list(rows[0]), format="table")
        return screen.getvalue().splitlines()

    return call


def strip(line: str) -> str:
    """A line without the codes for bold."""
    return re.sub(r"\x1b\[\d+m", "", line)


@pytest.fixture
def in_file(monkeypatch: pytest.MonkeyPatch) -> Printed:
    """Rows -> the lines of a file."""

    def call(rows: Rows) -> list[str]:
        file = io.StringIO()
        monkeypatch.setattr("sys.stdout", file)
        print_rows(rows, columns=list(rows[0]), format="table")
        return file.getvalue().splitlines()

    return call


def test_numbers_stand_right_and_text_left(in_file: Printed, on_screen: Printed) -> None:
    rows: Rows = [{"rank": 1, "model": "a", "x": 1.23456}, {"rank": 22, "model": "bc", "x": None}]
    assert in_file(rows) == ["rank  model      x", "   1  a      1.235", "  22  bc"]
    assert [line.rstrip() for line in on_screen(rows)[1:]] == in_file(rows)[1:]


def test_columns_of_wide_letters_stay_aligned(in_file: Printed, on_screen: Printed) -> None:
    rows: Rows = [{"model": "漢字かな", "n": 1}, {"model": "plain", "n": 2}]
    want = ["漢字かな  1", "plain     2"]
    assert in_file(rows)[1:] == want and on_screen(rows)[1:] == want


def test_names_keep_their_end_and_numbers_are_never_cut(on_screen: Printed) -> None:
    rows: Rows = [{"long": "x" * 70 + ".end", "short": "y" * 14, "n": 123456789012}]
    assert on_screen(rows)[1] == "…" + "x" * 25 + ".end  " + "y" * 14 + "  123456789012"


def test_no_line_is_longer_than_the_terminal(
    on_screen: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: Rows = [{f"c{i}": "x" * 70 for i in range(6)}]
    assert all(len(strip(line)) <= 60 for line in on_screen(rows))
    assert "left out to fit 60 columns: c2, c3, c4, c5; cut: c0, c1" in capsys.readouterr().err


def test_prose_goes_on_in_further_lines(on_screen: Printed) -> None:
    rows: Rows = [{"note": "word " * 20, "n": 1}, {"note": "short one", "n": 2}]
    shown = [strip(line) for line in on_screen(rows)]
    assert " ".join(" ".join(shown[1:3]).split()) == "word " * 11 + "1 " + "word " * 8 + "word"
    assert shown[3].split() == ["short", "one", "2"]


def test_a_file_gets_every_letter(in_file: Printed) -> None:
    assert in_file([{"long": "x" * 500}])[1] == "x" * 500


def test_a_hostile_name_is_shown_as_it_is_spelled(on_screen: Printed, in_file: Printed) -> None:
    name = "[bold]a[/] :smile: \x1b[31m\nb\x07"
    want = "[bold]a[/] :smile: \N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert on_screen([{"name": name}])[1] == want
    assert in_file([{"name": name}])[1] == want


def test_only_the_header_is_marked_and_only_on_a_terminal(
    on_screen: Printed, in_file: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: Rows = [{"a": "https://x.y/z", "b": 1.5}]
    header, line = on_screen(rows)
    assert re.findall(r"\x1b\[\d+m", header) and "\x1b" not in line
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any("\x1b" in text for text in (*on_screen(rows), *in_file(rows)))


def test_bytes_seconds_and_parameters_are_said_as_people_do(
    in_file: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    rows: Rows = [{"bytes_read": 1_234_567_890, "read_s": 300.0, "num_params": 22_713_728}]
    assert in_file(rows)[1].split() == ["1.23", "GB", "5", "min", "22.7", "M"]


def test_csv_json_and_sql_keep_the_plain_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    rows: Rows = [{"bytes_read": 1_234_567_890}]
    print_rows(rows, columns=["bytes_read"], format="csv")
    print_rows(rows, columns=["bytes_read"], format="json")
    print_rows(rows, columns=["bytes_read"], format="table", exact=True)
    assert capsys.readouterr().out.count("1234567890") == 3


def test_no_rows_leave_the_header(on_screen: Printed, capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], columns=["a", "b"], format="table")
    assert capsys.readouterr() == ("a  b\n", "(no rows)\n")
