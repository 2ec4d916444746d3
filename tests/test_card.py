"""Model cards: honest ones are read, hostile ones are survived."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.card import (
    MAX_CARD_BYTES,
    Evaluation,
    card_from_metadata,
    front_of,
    parse_card,
)

CARD = """---
license: mit
base_model: acme/base
library_name: transformers
pipeline_tag: text-classification
language: no
tags: [digits, mlp]
model-index:
- name: tiny
  results:
  - task: {type: image-classification, name: Digits}
    dataset: {name: mnist, type: mnist, split: test}
    metrics:
    - {type: accuracy, value: 0.97, name: Test accuracy}
    - {type: loss, value: 1.2e-1}
  - task: {type: image-classification}
    dataset: {name: glue, config: sst2, split: validation}
    metrics: [{type: f1, value: '81.5'}]
---
# Tiny <script>alert(1)</script>
"""


def test_front_matter_becomes_a_card() -> None:
    card = parse_card(CARD.encode())
    task = "image-classification"
    assert card.evaluations == (
        Evaluation(task, "mnist (test)", "accuracy", 0.97),
        Evaluation(task, "mnist (test)", "loss", 0.12),
        Evaluation(task, "glue (sst2, validation)", "f1", 81.5),
    )
    assert (card.license, card.base_model, card.library) == ("mit", "acme/base", "transformers")
    assert (card.pipeline_tag, card.tags) == ("text-classification", ("digits", "mlp"))
    assert card.problems == ()


def test_a_card_with_windows_line_ends_is_read() -> None:
    assert parse_card(CARD.replace("\n", "\r\n").encode()) == parse_card(CARD.encode())


def test_the_hubs_card_data_reads_as_the_front_matter_does() -> None:
    data = {"license": ["mit", "other"], "base_model": ["a/b", "c/d"], "tags": "one"}
    card = card_from_metadata(data)
    assert (card.license, card.base_models, card.tags) == ("mit, other", ("a/b", "c/d"), ("one",))


@pytest.mark.parametrize("value", ["n/a", ".nan", ".inf", "[1]", "true", "null", "9" * 5000])
def test_a_result_that_is_no_finite_number_is_left_out_with_a_problem(value: str) -> None:
    text = f"---\nmodel-index:\n- results:\n  - metrics: [{{type: f1, value: {value}}}]\n---\n"
    card = parse_card(text.encode())
    assert card.evaluations == ()
    assert card.problems


@pytest.mark.timeout(120)
def test_fifty_megabytes_of_yaml_cost_neither_time_nor_a_crash() -> None:
    card = parse_card(b"---\n" + b"tags: [a, b]\nx: y\n" * (50 * 2**20 // 18))
    assert "longer than" in card.problems[0]


@pytest.mark.timeout(300)
def test_a_card_of_nearly_the_cap_is_read_in_seconds() -> None:
    body = "---\nlicense: mit\ntags:\n" + "- tag\n" * (MAX_CARD_BYTES // 6 - 10) + "---\n"
    assert parse_card(body.encode()).license == "mit"


@pytest.mark.parametrize(
    "yaml",
    [
        "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]",
        "a: &a {x: 1}\nb: {<<: *a}",
        "x: " + "[" * 100_000,
        "x: " + "{a: " * 50_000,
        "- " * 50_000,
        "x: !!python/object/apply:os.system ['true']",
        "? [a]\n: b",
        "model-index: 7",
        "model-index: [1, {results: 3}, {results: [{metrics: {a: b}}]}]",
        "tags: {a: b}",
        "\x00",
        "x: !!bool maybe",
        "x: !!timestamp maybe",
    ],
)
def test_hostile_yaml_gives_an_empty_card(yaml: str) -> None:
    card = parse_card(f"---\n{yaml}\n---\n".encode())
    assert card.evaluations == ()
    assert card.license is None


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_any_bytes_parse_without_an_exception(body: bytes) -> None:
    parse_card(body)
    parse_card(b"---\n" + body + b"\n---\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["results", "metrics", "type", "value", "dataset", "task", "name"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_any_json_gives_finite_evaluations(metadata: object) -> None:
    card = card_from_metadata({"model-index": metadata, "tags": metadata})
    assert all(abs(e.value) < float("inf") and e.metric for e in card.evaluations)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 12_000), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_a_card_is_the_same_when_only_its_front_is_read(
    padding: int, line_end: str, is_closed: bool
) -> None:
    text = CARD if is_closed else CARD.replace("---\n#", "#")
    text = text.replace("tags: [", f"x: {'y' * padding}\ntags: [").replace("\n", line_end)
    whole = (text + "below " * 20_000).encode()
    front = front_of(lambda start, length: whole[start : start + length], len(whole))
    assert parse_card(front) == parse_card(whole)
    if is_closed:
        assert len(front) < 4 * (len(text) + 4096)
