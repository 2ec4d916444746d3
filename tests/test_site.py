"""The site as files: what is in it, what strangers cannot do to it, and what is made again."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import duckdb
import numpy as np
import pytest

from catalog.read.definitions import script
from catalog.schema import TABLES
from jobs.site.build import build_site
from jobs.site.files import MANIFEST, SiteFolder
from jobs.site.pages.queries import queries
from jobs.site.safe import cell, data_script, slug, text, without_paths
from jobs.site.spectrum_svg import spectrum_svg
from jobs.site.words import meanings
from tests.catalogs import commit
from tests.conftest import Zoo
from tests.sites import HOSTILE, layers
from zoo.errors import UseError


@pytest.fixture(scope="module")
def site(made: tuple[Path, Path]) -> Path:
    return made[1]


def data(path: Path) -> dict[str, object]:
    """What a script of data hands over."""
    match = re.fullmatch(r"ZOO\.put\((\"[^\"]*\"),(.*)\);\n", path.read_text(), re.DOTALL)
    assert match, path
    value = json.loads(match[2])
    assert isinstance(value, dict)
    return value


class Links(HTMLParser):
    """Collects what a page loads and leads to, and the tags it has."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]


def pages(site: Path) -> list[Path]:
    return [*site.glob("*.html"), *site.glob("models/*.html")]


def test_every_link_of_every_page_leads_to_a_file_of_the_site(site: Path) -> None:
    assert len(pages(site)) == 6 + 6 + 1 + len(HOSTILE)
    for page in pages(site):
        for link in Links(page).loaded:
            assert "//" not in link
            target = link.partition("#")[0]
            assert not target or (page.parent / target).exists(), (page.name, link)


def test_names_of_strangers_are_text_on_every_page(site: Path) -> None:
    for page in pages(site):
        parsed = Links(page)
        assert "img" not in parsed.tags and "b" not in parsed.tags and "i" not in parsed.tags
        written = page.read_text(encoding="utf-8")
        scripts = re.findall(r"<script([^>]*)>([^<]*)", written)
        assert all("src=" in attributes and not body for attributes, body in scripts)
        assert "49" not in re.findall(r"evil/(\S+)", written)  # no template is run


def test_no_control_character_and_no_path_of_a_machine_reaches_a_page(site: Path) -> None:
    for path in [*pages(site), *site.glob("data/**/*.js")]:
        written = path.read_text(encoding="utf-8")
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u2028\u202e]", written), path
        assert "/home/" not in written and "\\u001b" not in written and "\\u202e" not in written, (
            path
        )
    assert "…/file.bin" in (site / "models" / f"{slug(HOSTILE[0])}.html").read_text(
        encoding="utf-8"
    )


def test_data_in_scripts_cannot_end_them(site: Path) -> None:
    for path in site.glob("data/**/*.js"):
        assert "<" not in path.read_text(encoding="utf-8")
    assert data_script("a", "</script>\u2028") == 'ZOO.put("a","\\u003c/script\\u003e\\u2028");\n'


def test_boards_have_every_model_and_say_why_one_has_no_rank(site: Path) -> None:
    board = data(site / "data/board-traps.js")
    columns = dict(zip(board["columns"], board["cells"], strict=True))  # type: ignore[call-overload]
    assert len(columns["model_id"]) == 6 + 1 + len(HOSTILE)
    assert columns["rank"][:6] == [1, 2, 3, 4, 5, 6]
    assert columns["family_rank"][0] == 1
    assert all(
        r for r, rank in zip(columns["reason"], columns["rank"], strict=True) if rank is None
    )
    assert columns["low"][0] is not None


def test_failures_have_their_cause_and_message(site: Path) -> None:
    found = data(site / "data/failures.js")["failures"]
    assert isinstance(found, dict)
    columns = dict(zip(found["columns"], found["cells"], strict=True))
    assert columns["model_id"] == ["org/broken"]
    assert columns["reason"] == [
        "data: cannot read …/broken.bin: <b>torn</b>\N{REPLACEMENT CHARACTER}[2J"
    ]
    assert "The files of the model are wrong" in (site / "failures.html").read_text()


def test_only_models_whose_rows_changed_are_made_again(tmp_path: Path) -> None:
    catalog, site = tmp_path / "cat", tmp_path / "site"
    for name in ("org/model-0", "org/model-1"):
        commit(str(catalog), name)
    build_site(str(catalog), site)
    before = {path: path.stat().st_mtime_ns for path in site.glob("models/*.html")}
    commit(str(catalog), "org/model-0", layers=layers(6, 4.0), minute=99)
    assert build_site(str(catalog), site).num_made == 1
    changed = [p.name for p, at in before.items() if p.stat().st_mtime_ns != at]
    assert changed == [f"{slug('org/model-0')}.html"]


def test_pages_of_models_that_are_gone_are_deleted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = SiteFolder.open(tmp_path, "generator")
        folder.put(f"models/{name}.html", "page")
        num_deleted = folder.finish()
    assert num_deleted == 1
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["b.html"]


def test_a_folder_that_is_no_site_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(UseError, match="is not empty and holds no site"):
        SiteFolder.open(tmp_path / "mine", "generator")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_manifest_that_was_written_by_a_stranger_deletes_nothing_outside(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside").write_text("mine")
    (site / MANIFEST).write_text('{"generator": "x", "pages": {}, "files": ["../outside"]}')
    SiteFolder.open(site, "x").finish()
    assert (tmp_path / "outside").exists()


def test_an_empty_catalog_has_a_site_too(
    tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.catalogs import sweep

    sweep(str(tmp_path / "cat"), "s1", ["org/a"])
    assert zoo("report", tmp_path / "cat", "--out", tmp_path / "site", "--quiet") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'site' / 'index.html'}\n"
    assert "not done yet" in (tmp_path / "site/failures.html").read_text()


def test_the_sql_of_every_table_runs_in_a_plain_duckdb(made: tuple[Path, Path]) -> None:
    with duckdb.connect() as con:
        con.execute("set variable zoo = ?", [str(made[0])])
        con.execute(script())
        for name in ("model", "a", "b"):
            con.execute(f"set variable {name} = 'org/model-0'")
        answers = {q.anchor: con.sql(q.sql) for q in queries()}
        rows = {name: len(a.to_arrow_table()) for name, a in answers.items() if a is not None}
    assert rows["layers"] == rows["compare"] == 6
    assert rows["scores"] == rows["failures"] == 1


def test_a_picture_without_a_shuffle_a_fit_or_any_variance_is_drawn_or_left_out() -> None:
    ones = np.ones(30)
    assert "<svg" in spectrum_svg(ones, None, {"tensor": "a<b", "layer_index": 0})
    assert "a&lt;b" in spectrum_svg(ones, ones, {"tensor": "a<b", "alpha": 2.0, "xmin": 1.0})
    assert spectrum_svg(np.zeros(5), None, {}) == spectrum_svg(np.zeros(0), None, {}) == ""


def test_slugs_are_short_and_differ() -> None:
    names = ["a/b", "a-b", "A/B", "a/b/", "é", "x" * 500, "..", "a\nb"]
    assert len({slug(name) for name in names}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9._-]{1,80}", slug(n)) and slug(n)[0] != "." for n in names)


def test_values_are_finite_numbers_or_clean_text() -> None:
    assert cell(float("nan")) is None and cell(1.23456789) == 1.23457
    assert text("a\x1b[2J\ud800") == "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}"
    assert without_paths("in /home/me/x.bin, C:\\Users\\me\\y") == "in …/x.bin, …/y"
    assert without_paths("/model/layers.0/MatMul and https://h.co/tmp/a") == (
        "/model/layers.0/MatMul and https://h.co/tmp/a"
    )


def test_every_column_of_every_board_has_a_meaning(site: Path) -> None:
    for path in site.glob("data/board-*.js"):
        board = data(path)
        assert set(board["columns"]) == set(board["meanings"]), path.name  # type: ignore[call-overload]
    assert set(TABLES["layers"].column(n).name for n in ("alpha", "role")) <= set(meanings())
