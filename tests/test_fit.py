"""Which columns fit a terminal, as strings in and strings out."""

from __future__ import annotations

import pytest

from jobs.screen.fit import Column, Fitted, fit


def column(name: str, *cells: str, is_figure: bool = False) -> Column:
    return Column.of(name, cells, is_figure=is_figure)


def widths(fitted: Fitted) -> int:
    """Places of a row."""
    return sum(c.width for c in fitted.columns) + 2 * (len(fitted.columns) - 1)


def layers(length: int) -> list[Column]:
    """A table of layers whose names have `length` letters: 15 columns of figures, one empty, one the same."""
    name = column("tensor", *(("x" * length)[:-2] + f".{i}" for i in range(3)))
    figures = [
        column(f"figure_number_{i}", "1.234", "5", str(i), is_figure=True) for i in range(15)
    ]
    return [
        *figures[:2],
        name,
        *figures[2:],
        column("part", "", "", ""),
        column("status", *["ok"] * 3),
    ]


def names(columns: tuple[Column, ...]) -> list[str]:
    return [c.name for c in columns]


@pytest.mark.parametrize("width", [40, 80, 100, 200])
@pytest.mark.parametrize("length", [10, 30, 120])
def test_no_row_is_wider_than_the_terminal_and_nothing_is_lost_in_silence(
    width: int, length: int
) -> None:
    table = layers(length)
    fitted = fit(table, width=width, first=("tensor",))
    assert widths(fitted) <= width
    assert sorted(names(fitted.columns) + names(fitted.left_out)) == sorted(c.name for c in table)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_figures_leave_before_a_name_is_cut(width: int) -> None:
    fitted = fit(layers(48), width=width, first=("tensor",))
    (tensor,) = (c for c in fitted.columns if c.name == "tensor")
    assert not tensor.is_cut and tensor.width == 48
    assert len(fitted.columns) > (2 if width == 80 else 4)


def test_a_name_that_is_too_long_keeps_its_end_and_leaves_half_the_terminal_to_figures() -> None:
    fitted = fit(layers(120), width=80, first=("tensor",))
    (tensor,) = (c for c in fitted.columns if c.name == "tensor")
    assert tensor.is_cut and tensor.cells[1].startswith("…") and tensor.cells[1].endswith(".1")
    assert 40 <= tensor.width <= 60 and len(fitted.columns) >= 4


def test_columns_leave_by_priority() -> None:
    table = layers(48)
    fitted = fit(table, width=80, first=("tensor", "figure_number_14", "figure_number_7"))
    kept = names(fitted.columns)
    assert {"figure_number_14", "figure_number_7"} < set(kept)
    assert kept == [c.name for c in table if c.name in kept], "the order of display stays"


def test_what_says_nothing_leaves_first() -> None:
    fitted = fit(layers(10), width=120, first=("part", "status", "tensor"))
    assert {"part", "status"} < {*names(fitted.left_out)}


def test_a_header_is_broken_only_where_that_makes_room() -> None:
    table = [
        column("a_long_name", "1", is_figure=True),
        column("another_long_name", "2", is_figure=True),
    ]
    assert fit(table, width=30, first=()).headers == (("a_long_name",), ("another_long_name",))
    broken = fit(table, width=22, first=())
    assert broken.headers == (("a_long_", "name"), ("another_", "long_name"))
    assert not broken.left_out


def test_one_column_that_is_too_wide_is_cut_to_the_terminal() -> None:
    fitted = fit([column("name", "x" * 300)], width=80, first=())
    assert widths(fitted) == 80
