"""A night over models whose commits the catalog has already: list pages, and no request for any file.

The Hub counts GET and HEAD of `config.json` as downloads, a column that boards rank and filter by.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.screen.progress import Progress
from jobs.spec.load import parse_spec
from jobs.sweep.ledger import Ledger
from jobs.sweep.loop import run_sweep
from jobs.units.listed import units_of
from tests.catalogs import commit
from tests.hub_folders import fresh_session, put_model
from zoo.loopback.server import HubServer

SPEC = """
[[source]]
query = { author = "acme", sort = "downloads" }
[[source]]
hub = "other/one"
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in ("acme/a", "acme/b", "acme/c", "other/one"):
        put_model(tmp_path / "shelf" / name)
    with HubServer(tmp_path / "shelf") as server, fresh_session():
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_commits_that_are_there_cost_list_pages_and_no_request_for_any_file(
    hub: HubServer, tmp_path: Path
) -> None:
    spec = parse_spec(SPEC, folder=tmp_path)
    root = str(tmp_path / "cat")
    for unit in units_of(spec):
        model_id, revision, key = unit.with_decoders([]).key
        commit(root, model_id, revision=revision, analysis_key=key, options_key=unit.options_key,
               decoders="")  # fmt: skip
    hub.requests.clear()
    result = run_sweep(
        spec,
        ledger=Ledger(root, name="nightly", spec_text=SPEC),
        units=units_of(spec),
        start_runner=lambda: pytest.fail("a runner was started"),
        overwrite="never",
        limit=None,
        progress=Progress(quiet=True),
    )
    assert (result.num_skipped, result.num_done, result.exit_code) == (4, 0, 0)
    asked = [request.path for request in hub.requests]
    assert asked and all(path.startswith("/api/models") for path in asked), asked
    assert not any("/resolve/" in path or "config.json" in path for path in asked)
    assert (
        len(asked) <= 3
    )  # a list page, and one model named by itself: no call a model of the query
