"""A catalog in a notebook: its views as DataFrames. See `zoo.catalogs.Catalog`, which it is."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog.errors import QueryError
from catalog.files.folder import Folder
from catalog.read.boards import (
    BOARDS,
    MIN_LAYERS,
    Dequantised,
    Within,
    find_board,
    leaderboard,
    views_of_board,
)
from catalog.read.definitions import views_of
from catalog.read.model_page import VIEWS, compare, layer_columns, layers_of
from catalog.read.query import Answer, ask, ask_rows
from catalog.read.questions import bound, find_question, values_of
from catalog.read.safety import check_statements
from catalog.read.views import connect
from jobs import portraits
from zoo.errors import UseError

if TYPE_CHECKING:
    import pyarrow as pa

    from zoo.pictures.album import Wanted

_LAYERS = "from layers_latest order by model_id, revision, layer_index"
_MODELS = "from models_latest where is_final order by model_id"
_TRAPS = """
from traps semi join models_latest using (sweep_id, model_id, revision, analysis_key)
order by model_id, revision, tensor, part, expert, replicate, trap_index
"""


class OpenCatalog:
    """See `zoo.catalogs.Catalog`. Holds no connection: every question makes one, in about 0.1 s."""

    def __init__(self, root: str) -> None:
        self.root = root
        """Folder or URL."""

    def __repr__(self) -> str:
        offers = ".models, .layers, .traps, .board(name), .sql(query)"
        return f"<Catalog {self.root}: {self._num_models()} models; {offers}>"

    def _repr_html_(self) -> str:
        title = f"<p>{escape(self.root)}: {self._num_models()} models</p>"
        return title + str(self.board("traps", top=20).to_html(index=False))

    @property
    def models(self) -> Any:
        """See `Catalog.models`."""
        return self.sql(_MODELS)

    @property
    def layers(self) -> Any:
        """See `Catalog.layers`."""
        return self.sql(_LAYERS)

    @property
    def traps(self) -> Any:
        """See `Catalog.traps`."""
        return self.sql(_TRAPS)

    @property
    def boards(self) -> Mapping[str, Any]:
        """See `Catalog.boards`."""
        return {name: self.board(name) for name in BOARDS}

    def board(
        self,
        name: str,
        *,
        top: int | None = None,
        where: str | None = None,
        family: str | None = None,
        within: Within | None = None,
        by: str | None = None,
        dequantised: Dequantised = "all",
        source: str | None = None,
        since: str | None = None,
        analysis: str | None = None,
        min_layers: int = MIN_LAYERS,
    ) -> Any:
        """See `Catalog.board`."""
        board = find_board(name)
        if board is None:
            raise QueryError(f"no leaderboard {name!r:.100}; there are {', '.join(BOARDS)}")
        with connect(self.root, only=views_of_board(where)) as con:
            ranked = leaderboard(
                con, board, top=top, where=where, family=family, within=within, by=by,
                dequantised=dequantised, source=source, since=since, analysis=analysis,
                min_layers=min_layers,
            )  # fmt: skip
        names = ranked.column_names
        rows = tuple(tuple(row[column] for column in names) for row in ranked.rows)
        frame = _frame(Answer(names, rows))
        frame["rank"] = frame["rank"].astype("Int64")  # empty, not a fraction, where there is none
        frame.attrs = {"title": board.title, "direction": board.direction}
        return frame

    def show(self, model: str) -> Any:
        """See `Catalog.show`."""
        with connect(self.root, only=VIEWS) as con:
            return _frame(layers_of(con, model, layer_columns(con)))

    def compare(self, a: str, b: str) -> Any:
        """See `Catalog.compare`."""
        with connect(self.root, only=VIEWS) as con:
            return _frame(compare(con, a, b))

    def plot(
        self, model: str, folder: str | os.PathLike[str], layers: Wanted = ()
    ) -> dict[str, Path]:
        """See `Catalog.plot`."""
        if importlib.util.find_spec("matplotlib") is None:
            raise UseError("pictures need matplotlib: pip install 'spectral-zoo[plot]'")
        from zoo.pictures.album import album
        from zoo.pictures.press import print_pictures

        with connect(self.root, only=portraits.VIEWS) as con:
            name, stored = portraits.stored_layers(con, model)
        return print_pictures(album(name, stored, layers), folder)

    def sql(self, query: str, values: Mapping[str, object] | None = None) -> Any:
        """See `Catalog.sql`."""
        _check_pandas()
        return self.arrow(query, values).to_pandas()

    def ask(self, name: str, **parameters: object) -> Any:
        """See `Catalog.ask`."""
        _check_pandas()
        question = find_question(name)
        given = {key: "null" if value is None else str(value) for key, value in parameters.items()}
        values = values_of(question, given)
        with connect(self.root, only=question.views) as con:
            check_statements(con, question.sql, Folder.parse(self.root), allow_files=False)
            with bound(con, question, values):
                return ask(con, question.sql, blame=question.name).to_pandas()

    def arrow(self, query: str, values: Mapping[str, object] | None = None) -> pa.Table:
        """See `Catalog.arrow`."""
        with connect(self.root, only=views_of(query)) as con:
            check_statements(con, query, Folder.parse(self.root), allow_files=False)
            return ask(con, query, values or ())

    @property
    def tables(self) -> tuple[str, ...]:
        """See `Catalog.tables`."""
        with connect(self.root) as con:
            return tuple(name for (name,) in ask_rows(con, "select name from (show tables)").rows)

    def _num_models(self) -> int:
        with connect(self.root, only=("models_latest",)) as con:
            ((count,),) = ask_rows(con, "select count(distinct model_id) from models_latest").rows
        return int(count)


def open_catalog(root: str | os.PathLike[str]) -> OpenCatalog:
    """See `zoo.catalogs.open`."""
    text = os.path.expanduser(os.fspath(root))
    with connect(text, only=()):  # a folder that is no catalog is said now
        return OpenCatalog(text)


def _frame(answer: Answer) -> Any:
    """The rows as a DataFrame."""
    _check_pandas()
    import pandas as pd

    return pd.DataFrame(answer.rows, columns=list(answer.column_names))


def _check_pandas() -> None:
    if importlib.util.find_spec("pandas") is None:
        raise UseError(
            "a DataFrame needs pandas: pip install 'spectral-zoo[notebook]'; `arrow(query)` gives tables without it"
        )
