"""An answer of DuckDB where the user wants it: on the screen, in a Parquet file, as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.screen.output import print_table
from jobs.screen.progress import Progress
from jobs.screen.shown import Shown
from zoo.errors import UseError

if TYPE_CHECKING:
    import pyarrow as pa

    from catalog.read.query import Answer

AnswerFormat = Literal["table", "csv", "json", "md", "parquet"]
"""How an answer is written; parquet goes to a file."""
_LABELS = ("model_id", "name", "tensor", "family", "role")
"""Columns that name the points of a picture, the first that there is."""
_SILENT = ((), ("Success",), ("Count",))
"""Columns of statements that give no rows: SET, CREATE."""


def check_places(
    format: AnswerFormat, out: Path | None, plot: Path | None, axes: str | None
) -> None:
    """UseError for options that do not go together, said before anything is asked."""
    from importlib.util import find_spec

    if (out is not None) and format != "parquet":
        raise UseError("--out: got it without --format parquet; the others go to standard output")
    if axes is not None and plot is None:
        raise UseError("--axes: got it without --plot; wanted a folder for the picture")
    if axes is not None and axes.count(",") != 1:
        raise UseError(f"--axes: got {axes!r:.100}; wanted two columns, such as alpha,layer_index")
    if plot is not None and find_spec("matplotlib") is None:
        raise UseError("--plot needs matplotlib: pip install 'spectral-zoo[plot]'")


def give_answer(
    rows: Callable[[], Answer],
    table: Callable[[], pa.Table],
    *,
    name: str,
    format: AnswerFormat,
    shown: Shown,
    quiet: bool,
    out: Path | None,
    plot: Path | None,
    axes: str | None,
) -> None:
    """Print, write and draw what a query gives.

    `rows` asks for Python values, `table` for an Arrow table, which Parquet alone wants. `name`: of the
    files, without ending.
    """
    progress = Progress(quiet=quiet)
    answer = rows() if format != "parquet" or plot is not None else None
    if format == "parquet":
        place = out or Path(f"{name}.parquet")
        _write_parquet(table(), place)
        progress.say(f"wrote {place}")
    elif answer is not None and (answer.column_names not in _SILENT or answer.rows):
        print_table(answer, format=format, quiet=quiet, shown=shown, exact=True)
    if plot is not None and answer is not None:
        progress.say(f"wrote {_draw(answer, name, plot, axes)}")


def _write_parquet(table: pa.Table, place: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.write_table(table, place)
    except (OSError, pa.ArrowNotImplementedError) as error:
        raise UseError(f"--out: cannot write {str(place)!r}: {error}") from error


def _draw(answer: Answer, name: str, folder: Path, axes: str | None) -> Path:
    """The file of the picture of one column by another."""
    from zoo.pictures.album import Picture
    from zoo.pictures.press import print_pictures
    from zoo.pictures.scatter import scatter

    rows = [{k: _as_float(v) for k, v in row.items()} for row in answer.to_pylist()]
    y, x = chosen_axes(answer.column_names, rows, axes)
    label = next((column for column in _LABELS if column in answer.column_names), None)
    slim = [{column: row[column] for column in (y, x, label) if column} for row in rows]
    picture = Picture(name, partial(scatter, slim, y=y, x=x, title=name, label=label))
    return print_pictures([picture], folder)[name]


def _as_float(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else value


def chosen_axes(
    names: Sequence[str], rows: Sequence[Mapping[str, Any]], axes: str | None
) -> tuple[str, str]:
    """(vertical, horizontal): those of `axes`, else the first two columns of numbers with several values.

    UseError for columns that there are not, or that hold no numbers.
    """
    numeric = [name for name in names if _is_numeric(row[name] for row in rows)]
    if axes is None:
        varied = [n for n in numeric if len({row[n] for row in rows if row[n] is not None}) > 1]
        if len(varied) < 2:
            raise UseError(
                "--plot: wanted two columns of numbers with several values, got "
                f"{', '.join(varied) or 'none'}"
            )
        return varied[0], varied[1]
    y, x = (part.strip() for part in axes.split(","))
    for name in (y, x):
        if name not in numeric:
            raise UseError(
                f"--axes: no column of numbers {name!r:.100}; there are {', '.join(numeric) or 'none'}"
            )
    return y, x


def _is_numeric(values: Any) -> bool:
    there = [value for value in values if value is not None]
    return bool(there) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in there
    )
