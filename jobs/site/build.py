"""A catalog to a site: the shared files, the boards, and a page for every model that changed.

    build_site("results", Path("site"))

Nothing of the catalog is written, no weights are read, nothing is fetched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from catalog.read.lacking import lacking
from catalog.read.views import connect
from jobs.site import gather, pen
from jobs.site.charts import charts
from jobs.site.files import SiteFolder
from jobs.site.gather import Row
from jobs.site.pages import guide, queries
from jobs.site.pages.boards import BoardData, every_board
from jobs.site.pages.failures import failures
from jobs.site.pages.families import families
from jobs.site.pages.model import files_of, model_data, model_page
from jobs.site.safe import data_script, slug, text

if TYPE_CHECKING:
    import duckdb

_SAY_EVERY_S = 5.0
"""Seconds between two lines on how far it is."""


@dataclass(frozen=True, slots=True)
class Built:
    """What was written."""

    index: Path
    """The page to open first."""
    num_models: int
    num_made: int
    """Pages of models that were made; the others had not changed."""
    num_deleted: int
    """Files of models that are gone."""
    num_bytes: int
    """Written."""
    seconds: float


def build_site(
    catalog: str,
    out: Path,
    *,
    title: str = "Spectral Zoo",
    say: Callable[[str], None] = lambda _: None,
    anew: bool = False,
) -> Built:
    """Write the site of a catalog into the folder `out`; pages whose rows have not changed stay.

    `anew`: the folder may hold other things already. UseError where it does otherwise, NotACatalogError where there
    is no catalog.
    """
    started = time.monotonic()
    try:
        specs = charts()
    except ImportError as error:
        from zoo.errors import UseError

        raise UseError(f"the site needs {error.name}: pip install 'spectral-zoo[site]'") from error
    lacks = lacking(catalog)
    with connect(catalog) as con:
        folder = SiteFolder.open(out, f"{pen.generator()} {title}", anew=anew)
        pen.environment().globals["site_title"] = text(title)
        _put_shared(folder, specs)
        units = gather.units(con)
        boards = every_board(con)
        _put_boards(folder, boards, units)
        _put_families(folder, units)
        _put_failures(folder, failures(con, lacks))
        _put_lessons(folder)
        num_made = _put_models(folder, con, units, say)
    num_deleted = folder.finish()
    return Built(
        out / "index.html",
        len(units),
        num_made,
        num_deleted,
        folder.num_bytes,
        time.monotonic() - started,
    )


def _put_shared(folder: SiteFolder, specs: dict[str, dict[str, object]]) -> None:
    for path in sorted(pen.STATIC.rglob("*")):
        if path.is_file():
            folder.put(f"assets/{path.relative_to(pen.STATIC).as_posix()}", path.read_bytes())
    folder.put("assets/charts.js", data_script("charts", specs))
    folder.put("zoo.sql", queries.views_script())


def _put_boards(folder: SiteFolder, boards: Sequence[BoardData], units: Sequence[Row]) -> None:
    ranks: dict[str, dict[str, int]] = {}
    for found in boards:
        folder.put(
            f"data/board-{found.board.name}.js",
            data_script(f"board-{found.board.name}", found.data),
        )
        places = dict(zip(found.data["columns"], found.data["cells"], strict=True))
        for key, rank in zip(found.data["slugs"], places["rank"], strict=True):
            if rank is not None:
                ranks.setdefault(key, {})[found.board.name] = rank
    names = [
        [
            text(row["model_id"]),
            key := slug(row["model_id"]),
            text(row["family"] or ""),
            ranks.get(key, {}),
        ]
        for row in units
    ]
    counts = {found.board.name: found.num_ranked for found in boards}
    folder.put("data/names.js", data_script("names", {"models": names, "ranked": counts}))
    newest = max((row["committed_at"] for row in units), default=None)
    folder.put(
        "index.html",
        pen.page(
            "index",
            root="./",
            boards=[found.board for found in boards],
            num_models=len(units),
            num_layers=sum(row["layers_analysed"] for row in units),
            newest=f"{newest:%Y-%m-%d %H:%M}" if newest else None,
            written=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        ),
    )
    folder.put("compare.html", pen.page("compare", root="./"))


def _put_families(folder: SiteFolder, units: Sequence[Row]) -> None:
    data = families(units)
    folder.put("data/families.js", data_script("families", data))
    folder.put("families.html", pen.page("families", root="./", **data))


def _put_failures(folder: SiteFolder, found: dict[str, object]) -> None:
    folder.put("data/failures.js", data_script("failures", found.pop("data")))
    folder.put("failures.html", pen.page("failures", root="./", **found))


def _put_lessons(folder: SiteFolder) -> None:
    from markupsafe import Markup

    pictures = {
        "anatomy": Markup(guide.anatomy_svg()),
        "alpha": Markup(guide.alpha_svg()),
        "interval": Markup(guide.interval_svg()),
    }
    folder.put("guide.html", pen.page("guide", root="./", **pictures))
    folder.put("sql.html", pen.page("sql", root="./", queries=queries.queries()))


def _put_models(
    folder: SiteFolder,
    con: duckdb.DuckDBPyConnection,
    units: Sequence[Row],
    say: Callable[[str], None],
) -> int:
    """Pages of models whose rows changed; how many that were."""
    marks = gather.fingerprints(con)
    wanted = [
        row
        for row in units
        if not folder.is_current(
            row["model_id"], marks.get(row["model_id"], ""), files_of(row["model_id"])
        )
    ]
    started = told = time.monotonic()
    for number, model in enumerate(gather.models(con, wanted), 1):
        name = model.scores["model_id"]
        page_file, data_file = files_of(name)
        folder.put(data_file, model_data(model))
        folder.put(page_file, model_page(model))
        folder.keep(name, marks.get(name, ""), (page_file, data_file))
        now = time.monotonic()
        if now - told >= _SAY_EVERY_S:
            told = now
            say(f"{number:,} of {len(wanted):,} pages, {number / (now - started):.0f} a second")
    return len(wanted)
