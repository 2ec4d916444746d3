"""Queries, pinned models and revisions, from the loopback Hub and from hostile JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hub_folders import fresh_session, put_model, put_settings, weights
from zoo.card import Evaluation
from zoo.errors import GatedError, NotFoundError, SourceError, TransientError, UseError
from zoo.hub.client import HubClient, HubOptions
from zoo.hub.listing import ModelQuery, list_revisions, parse_model, query_models, resolve_model
from zoo.loopback import Fault, HubServer

QUICK = HubOptions(stall_s=20.0, attempts=3, wait_initial_s=0.001, wait_max_s=0.01)
SHA = "0" * 39 + "1"


@pytest.fixture(autouse=True, scope="module")
def _session() -> Iterator[None]:
    with fresh_session():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    for i in range(5):
        folder = put_model(
            root / "acme" / f"m{i}", seed=i, tensors=weights(i, num=1, rows=2 ** (i + 1), cols=500)
        )
        put_settings(folder, downloads=10 * i, likes=5 - i)
    put_model(root / "other" / "m0", card=None)
    put_model(root / "solo", seed=3)
    put_settings(put_model(root / "acme" / "closed"), gated="auto")
    put_settings(put_model(root / "acme" / "hidden"), private=True)
    put_settings(put_model(root / "acme" / "gone"), disabled=True)
    steps = root / "acme" / "m0" / ".hub"
    for step in (1, 2, 10):
        put_model(steps / "branches" / f"step{step}", seed=100 + step)
    put_model(steps / "tags" / "v1%2Fbeta", seed=7)
    return root


@pytest.fixture
def hub(root: Path) -> Iterator[HubServer]:
    with HubServer(root, page_size=2, tokens={"hf_t": ("acme/*",)}) as server:
        yield server


def ids(hub: HubServer, query: ModelQuery) -> list[str]:
    return [m.id for m in query_models(HubClient(hub.url, options=QUICK), query)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (ModelQuery(author="acme", sort="downloads", limit=3), ["m4", "m3", "m2"]),
        (ModelQuery(author="acme", search="m", sort="likes", limit=2), ["m0", "m1"]),
        (ModelQuery(author="acme", min_params=4000, max_params=8000), ["m2", "m3"]),
        (ModelQuery(author="acme", gated=True), ["closed"]),
        (ModelQuery(author="acme", limit=0), []),
        (ModelQuery(author="nobody"), []),
        (ModelQuery(tags=("tiny",), pipeline_tag="text-generation", search="m4"), ["m4"]),
        (ModelQuery(library="transformers", search="m3"), ["m3"]),
    ],
)
def test_queries_find_what_they_ask_for(
    hub: HubServer, query: ModelQuery, expected: list[str]
) -> None:
    assert ids(hub, query) == [f"acme/{name}" for name in expected]


def test_a_listing_costs_pages_and_stops_at_its_limit(hub: HubServer) -> None:
    assert len(ids(hub, ModelQuery())) == 9  # all but the private one
    assert len(hub.requests) == 5
    hub.requests.clear()
    ids(hub, ModelQuery(limit=3))
    assert len(hub.requests) == 2
    assert {r.path for r in hub.requests} == {"/api/models"}


def test_a_listing_brings_commit_and_metadata(hub: HubServer) -> None:
    client = HubClient(hub.url, options=QUICK)
    (model,) = query_models(client, ModelQuery(search="acme/m4"))
    full = resolve_model(client, "acme/m4")
    assert (model.sha, model.num_params, model.downloads) == (full.sha, 32 * 500, 40)
    assert (model.license, model.base_model, model.architecture) == ("mit", "acme/base", "Toy")
    assert model.evaluations == ()
    assert full.evaluations == (Evaluation("text-generation", "toy (test)", "accuracy", 0.5),)


def test_a_wrong_sort_is_bad_use(hub: HubServer) -> None:
    with pytest.raises(UseError, match="got sort 'size'"):
        ids(hub, ModelQuery(sort="size"))


def test_revisions_come_in_natural_order_with_their_commits(hub: HubServer) -> None:
    client = HubClient(hub.url, options=QUICK)
    steps = list_revisions(client, "acme/m0", "step*")
    assert [r.name for r in steps] == ["step1", "step2", "step10"]
    assert [resolve_model(client, "acme/m0", r.name).sha for r in steps] == [r.sha for r in steps]
    assert len({r.sha for r in steps}) == 3
    (tag,) = list_revisions(client, "acme/m0", "v1/*")
    assert resolve_model(client, "acme/m0", "v1/beta").sha == tag.sha
    assert resolve_model(client, "acme/m0", tag.sha).sha == tag.sha


def test_a_glob_that_fits_no_revision_names_those_there_are(hub: HubServer) -> None:
    with pytest.raises(NotFoundError, match="it has: main, step1, step2, step10, v1/beta"):
        list_revisions(HubClient(hub.url, options=QUICK), "acme/m0", "epoch*")


@pytest.mark.parametrize(
    ("repo_id", "revision", "error", "match"),
    [
        ("acme/absent", "main", NotFoundError, "no such repository"),
        ("acme/m0", "absent", NotFoundError, "RevisionNotFound"),
        ("acme/m0", SHA, NotFoundError, "RevisionNotFound"),
        ("acme/hidden", "main", NotFoundError, "HF_TOKEN"),
        ("acme/gone", "main", NotFoundError, "taken it down"),
        ("acme/../m0", "main", UseError, "wanted a Hub repository"),
    ],
)
def test_models_that_cannot_be_had_say_why(
    hub: HubServer, repo_id: str, revision: str, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        resolve_model(HubClient(hub.url, options=QUICK), repo_id, revision)


def test_a_private_model_opens_with_its_token(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_t")
    assert resolve_model(HubClient(hub.url, options=QUICK), "acme/hidden").id == "acme/hidden"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(NotFoundError, match="no such repository"):
        resolve_model(HubClient(hub.url, options=QUICK), "acme/hidden")


def test_a_gated_model_is_listed_without_access(hub: HubServer) -> None:
    assert resolve_model(HubClient(hub.url, options=QUICK), "acme/closed").gated == "auto"


def test_refusals_by_the_api_itself_are_gated(hub: HubServer) -> None:
    from zoo.loopback.replies import error_reply

    hub.routes.answer = lambda request, faults: error_reply(401, "no")  # type: ignore[method-assign]
    with pytest.raises(GatedError, match="set HF_TOKEN"):
        resolve_model(HubClient(hub.url, options=QUICK), "acme/m0")


def test_passing_errors_do_not_lose_or_repeat_models(hub: HubServer) -> None:
    hub.faults.add(Fault("503", match="/api/models", every=2))
    found = ids(hub, ModelQuery())
    assert len(found) == len(set(found)) == 9


def test_a_reply_that_is_not_json_is_transient(hub: HubServer) -> None:
    from zoo.loopback.replies import Reply

    hub.routes.answer = lambda request, faults: Reply(200, {}, b"<html>")  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="not JSON"):
        ids(hub, ModelQuery())


def test_a_next_page_elsewhere_is_not_followed(hub: HubServer) -> None:
    from zoo.loopback.replies import json_reply

    link = {"Link": '<http://127.0.0.1:9/steal>; rel="next"'}
    hub.routes.answer = lambda request, faults: json_reply([], link)  # type: ignore[method-assign]
    with pytest.raises(SourceError, match="outside"):
        ids(hub, ModelQuery())


def test_pages_that_go_in_a_circle_end(hub: HubServer) -> None:
    from zoo.loopback.replies import json_reply

    link = {"Link": f'<{hub.url}/api/models?cursor=1>; rel="next"'}
    hub.routes.answer = lambda request, faults: json_reply([], link)  # type: ignore[method-assign]
    assert ids(hub, ModelQuery()) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["total", "architectures", "license"]), inner, max_size=3)
    ),
    max_leaves=10,
)
FIELDS = ["tags", "gated", "private", "downloads", "safetensors", "config", "cardData", "author"]


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*FIELDS, "model-index", "likes"]), JSON), JSON)
def test_odd_fields_become_none_and_never_an_error(fields: dict[str, object], odd: object) -> None:
    model = parse_model({**fields, "id": "a/b", "sha": SHA})
    assert model is not None
    assert model.num_params is None or model.num_params >= 0
    parse_model(odd)
    parse_model({"id": odd, "sha": odd})
