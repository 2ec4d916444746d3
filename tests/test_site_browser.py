"""The site in a real browser, opened from a disk: Debian's chromium, driven by playwright."""

from __future__ import annotations

import csv
import importlib.util
import io
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from jobs.site.safe import slug
from tests.sites import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None, reason="no chromium here, and .ci/run could not install it"
    ),
    pytest.mark.skipif(not importlib.util.find_spec("playwright"), reason="needs playwright (dev)"),
]


@pytest.fixture(scope="module")
def site(made: tuple[Path, Path]) -> Path:
    return made[1]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; at the end nothing may have been said on its console, and nothing asked for that is no file."""
    context = browser.new_context(viewport={"width": 1300, "height": 850}, accept_downloads=True)
    context.set_default_timeout(20_000)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: said.append(f"error: {error}"))
    opened.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    opened.on(
        "request",
        lambda r: (
            None
            if r.url.startswith(("file:", "data:", "blob:"))
            else said.append(f"request: {r.url}")
        ),
    )
    yield opened
    hacked = opened.evaluate("window.hacked")
    context.close()
    assert (said, hacked) == ([], None)


def until(page: Page, expression: str) -> None:
    """Wait until an expression is true; `wait_for_function` evaluates text in the page, which may not."""
    end = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(40)


def shown(page: Page, column: str) -> list[str]:
    """Texts of a column's cells, from the top."""
    return page.locator(
        f'.tabulator-row .tabulator-cell[tabulator-field="{column}"]'
    ).all_inner_texts()


def open_board(page: Page, site: Path, state: str = "") -> None:
    page.goto(f"{(site / 'index.html').as_uri()}#{state}")
    page.wait_for_selector('#board[data-ready="true"] .tabulator-row')


@pytest.mark.parametrize("name", ["index", "families", "failures", "guide", "sql", "compare"])
def test_every_page_opens_from_a_disk(page: Page, site: Path, name: str) -> None:
    page.goto((site / f"{name}.html").as_uri())
    page.wait_for_load_state("load")
    assert page.locator("h1").count() == 1
    if name in ("index", "families", "failures"):
        page.wait_for_selector(".tabulator-row")
    if name == "families":
        page.wait_for_selector('[data-chart="families-traps"][data-ready="true"] svg')


@pytest.mark.parametrize("name", ["org/model-1", "org/run", *HOSTILE[:3]], ids=range(5))
def test_every_page_of_a_model_draws_its_charts_and_layers(
    page: Page, site: Path, name: str
) -> None:
    page.goto((site / "models" / f"{slug(name)}.html").as_uri())
    for chart in (
        "alpha-depth",
        "traps-depth",
        "funnel",
        *(["trajectory"] if name == "org/run" else []),
    ):
        page.wait_for_selector(f'[data-chart="{chart}"][data-ready="true"] svg')
    page.wait_for_selector("#layers .tabulator-row")
    assert len(shown(page, "alpha")) >= 5
    if name == "org/model-1":
        assert page.locator("svg.esd").count() == 6
    assert page.locator("img").count() == 0


def test_a_board_is_sorted_by_a_head_and_from_the_keyboard(page: Page, site: Path) -> None:
    open_board(page, site, "ranked=1")
    assert shown(page, "rank") == [str(i) for i in range(1, 13)]
    page.click('.tabulator-col[tabulator-field="num_params"]')
    until(page, "location.hash.includes('sort=num_params')")
    assert shown(page, "model_id")[:2] == ["org/model-0", "org/model-1"]
    assert shown(page, "num_params")[-1] == "–"  # what is missing is last
    page.focus('.tabulator-col[tabulator-field="num_params"]')
    page.keyboard.press("Enter")
    until(page, "location.hash.includes('sort=-num_params')")
    assert shown(page, "model_id")[0] == "org/model-5"
    assert shown(page, "num_params")[-1] == "–"  # in either direction


def test_filters_search_and_conditions_leave_the_rows_that_fit(page: Page, site: Path) -> None:
    open_board(page, site)
    page.fill("#family", "llama")
    page.dispatch_event("#family", "change")
    until(page, "document.querySelector('#board-tools .count').textContent.startsWith('3 of')")
    page.fill("#board-tools .where", "num_params > 1e8 and verdict ~ traps")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#board-tools .count').textContent.startsWith('2 of')")
    assert sorted(shown(page, "model_id")) == ["org/model-3", "org/model-5"]
    page.fill("#board-tools .where", "nonsense < 1")
    page.keyboard.press("Enter")
    page.wait_for_selector("#board-problem:not([hidden])")
    assert "no column nonsense" in page.inner_text("#board-problem")
    page.click("#reset")
    page.fill("#board-tools .q", "model-4")
    until(page, "document.querySelector('#board-tools .count').textContent.startsWith('1 of')")


def test_a_link_shows_somebody_else_the_same(page: Page, site: Path) -> None:
    open_board(page, site)
    page.click("#tab-alpha")
    until(page, "document.querySelector('#board-title').textContent.includes('alpha')")
    page.wait_for_selector('#board[data-ready="true"] .tabulator-row')
    page.click('.tabulator-col[tabulator-field="mean_alpha"]')
    page.click("#board-tools .columns summary")
    page.locator(".picker label", has_text="median_alpha").locator("input").check()
    page.fill("#board-tools .q", "org/")
    until(page, "location.hash.includes('q=org') && location.hash.includes('cols=')")
    there = page.url
    page.goto("about:blank")
    page.goto(there)
    page.wait_for_selector('#board[data-ready="true"] .tabulator-row')
    assert page.get_attribute("#tab-alpha", "aria-selected") == "true"
    assert page.input_value("#board-tools .q") == "org/"
    assert len(shown(page, "median_alpha")) == 7
    values = [float(v) for v in shown(page, "mean_alpha")]
    assert values == sorted(values)


def test_csv_and_copy_take_what_is_shown_and_defuse_formulas(page: Page, site: Path) -> None:
    open_board(page, site)
    with page.expect_download() as download:
        page.click("#board-tools .csv")
    rows = list(
        csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8-sig")))
    )
    assert len(rows) == 6 + 1 + len(HOSTILE)
    assert "'=cmd|' /C calc'!A0" in {row["model_id"] for row in rows}
    assert all(
        not re.match(r"[=+@\t\r-]", v) or re.fullmatch(r"-?[\d.e+-]+", v)
        for r in rows
        for v in r.values()
    )
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#board-tools .copy")
    until(page, "document.querySelector('#board-tools .copy').textContent === 'Copied'")


def test_dark_and_light_are_switched_and_remembered(page: Page, site: Path) -> None:
    page.goto((site / "models" / f"{slug('org/model-1')}.html").as_uri())
    page.wait_for_selector('[data-chart="funnel"][data-ready="true"] svg')
    paper = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.click("#theme")
    assert page.evaluate(paper) == "rgb(18, 23, 29)"
    page.reload()
    assert page.evaluate(paper) == "rgb(18, 23, 29)"
    page.emulate_media(color_scheme="dark")
    page.click("#theme")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"


def test_two_models_are_compared_layer_by_layer(page: Page, site: Path) -> None:
    state = f"a={slug('org/model-0')}&b={quote(slug('org/model-1'))}"
    page.goto(f"{(site / 'compare.html').as_uri()}#{state}")
    page.wait_for_selector('[data-chart="compare-traps"][data-ready="true"] svg')
    page.wait_for_selector("#pairs .tabulator-row")
    assert [float(v) for v in shown(page, "alpha_delta")] == pytest.approx([0.5] * 6)
    page.click("#swap")
    until(page, "location.hash.startsWith('#a=org-model-1')")
    until(
        page,
        "document.querySelector('#pairs .tabulator-cell[tabulator-field=alpha_delta]')?.textContent === '-0.5'",
    )


def test_the_box_at_the_top_leads_to_a_model(page: Page, site: Path) -> None:
    page.goto((site / "guide.html").as_uri())
    page.fill("#jump-to", "model-3")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/org-model-3-*.html")
    page.wait_for_selector("#ranks a")
    assert "rank" in page.inner_text("#ranks")


@pytest.mark.parametrize("name", ["index", "failures", "sql", "model"])
def test_a_phone_scrolls_in_one_direction_alone(page: Page, site: Path, name: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    path = f"models/{slug(HOSTILE[0])}" if name == "model" else name
    page.goto((site / f"{path}.html").as_uri())
    page.wait_for_load_state("load")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_printed_page_has_every_row_and_no_buttons(page: Page, site: Path) -> None:
    page.goto((site / "models" / f"{slug('org/model-1')}.html").as_uri())
    page.wait_for_selector("#layers .tabulator-row")
    page.emulate_media(media="print")
    assert not page.is_visible("#layers-tools") and not page.is_visible("#theme")
    assert page.locator("svg.esd").first.is_visible()
