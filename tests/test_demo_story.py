"""The demo's closing words: they name all five models and follow the figures, whatever these are."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.read.views import connect
from jobs.demo.story import VIEWS, story
from tests.catalogs import commit


def accuracies(train: float, test: float) -> list[dict[str, object]]:
    return [{"dataset": "digits", "metric": f"{split}_accuracy", "value": value}
            for split, value in (("train", train), ("test", test))]  # fmt: skip


def demo(root: Path, *, trapped_at: int, alpha: float) -> str:
    """The text of a catalog like the demo's, whose perceptron has traps from one step on."""
    for step, test in ((10, 0.1), (20, 0.9), (30, 0.7)):
        traps = 1.0 if step >= trapped_at else 0.0
        layers = [{"num_traps": traps, "alpha": alpha, "step": step}] * 2
        commit(str(root), "local/grokking-mlp", revision=f"{step:040d}", step=step, layers=layers,
               evaluations=accuracies(1.0, test))  # fmt: skip
    for name in ("mlp-shuffled-labels", "mlp-untrained", "all-minilm-l6-v2"):
        commit(str(root), f"local/{name}", layers=[{"alpha": 4.0}] * 6,
               evaluations=accuracies(1.0, 0.1))  # fmt: skip
    with connect(root, only=VIEWS) as con:
        return " ".join(story(con).split())


@pytest.mark.parametrize(
    ("trapped_at", "words"),
    [(10, "before the test"), (20, "when the test"), (30, "after the test"), (99, "no trap came")],
)
def test_the_words_say_when_traps_came(tmp_path: Path, trapped_at: int, words: str) -> None:
    text = demo(tmp_path, trapped_at=trapped_at, alpha=2.5)
    assert words in text
    assert "at its best (step 20): test accuracy 0.90" in text
    assert "at its end (step 30): test accuracy 0.70" in text
    for name in ("mlp-shuffled-labels", "mlp-untrained", "all-minilm-l6-v2"):
        assert name in text


@pytest.mark.parametrize(("alpha", "words"), [(2.5, "would come first"), (7.0, "come behind")])
def test_the_words_say_what_alpha_alone_would_rank(
    tmp_path: Path, alpha: float, words: str
) -> None:
    assert words in demo(tmp_path, trapped_at=30, alpha=alpha)


def test_a_catalog_of_other_models_has_no_story(tmp_path: Path) -> None:
    commit(str(tmp_path))
    with connect(tmp_path, only=VIEWS) as con:
        assert story(con) == ""
