"""Leaderboards by other counts, within bands, with filters, and what moved since the last sweep."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from catalog.errors import QueryError
from catalog.read.boards import BOARDS, Leaderboard, leaderboard, views_of_board
from catalog.read.views import connect
from catalog.write.commits import record_listing
from tests.catalogs import NOON, commit, keys, sweep
from tests.conftest import Zoo
from zoo.layers.param_counts import param_counts


def board(root: Path, name: str = "alpha", **options: object) -> Leaderboard:
    with connect(str(root), only=views_of_board()) as con:
        return leaderboard(con, BOARDS[name], **{"top": None, **options})  # type: ignore[arg-type]


def rankings(found: Leaderboard) -> dict[str | None, list[str]]:
    return {r.within: [row["model_id"] for row in r.rows] for r in found.rankings}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models of several sizes, sources and days; `b` is dequantised, of `d` the size is unknown."""
    root = tmp_path_factory.mktemp("boards") / "cat"
    million = {"num_params": 10**6}
    commit(str(root), "org/a", architecture="A", author="x", num_params=5 * 10**7, source="path:zoo/a",
           layers=[{"alpha": 2.5, "num_traps": 1.0, **million}] * 5)  # fmt: skip
    commit(str(root), "org/b", architecture="B", author="x", num_params=7 * 10**9, source="hub:org/b",
           layers=[{"alpha": 3.0, "num_traps": 2.0, "num_active_traps": 1.0, "is_dequantised": True,
                    "num_params": 10**7}] * 5)  # fmt: skip
    commit(str(root), "org/c", architecture="A", author="y", num_params=8 * 10**9, minute=24 * 60,
           source="path:zoo/c", layers=[{"alpha": 4.0, "num_traps": 0.0, **million}] * 5)  # fmt: skip
    commit(str(root), "org/d", layers=[{"alpha": 5.0, "num_traps": 0.0, "erg_log_ratio": 0.1}] * 5)
    return root


def test_models_are_ranked_within_size_bands_the_smallest_first(root: Path) -> None:
    found = board(root, within="size")
    assert list(rankings(found).items()) == [
        ("under 100 M", ["org/a"]), ("3 B to 10 B", ["org/b", "org/c"]), (None, ["org/d"]),
    ]  # fmt: skip
    assert found.within == "Size"


def test_models_are_ranked_within_architecture_or_any_column(root: Path) -> None:
    assert rankings(board(root, within="architecture")) == {
        "A": ["org/a", "org/c"], "B": ["org/b"], None: ["org/d"],
    }  # fmt: skip
    assert rankings(board(root, by="author")) == {
        "x": ["org/a", "org/b"], "y": ["org/c"], None: ["org/d"],
    }  # fmt: skip
    with pytest.raises(QueryError, match="--by: no column 'author\" or 1'; there are rank, "):
        board(root, by='author" or 1')
    with pytest.raises(QueryError, match="--by: got it with --within"):
        board(root, by="author", within="family")


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"dequantised": "none"}, ["org/a", "org/c", "org/d"]),
        ({"dequantised": "only"}, ["org/b"]),
        ({"source": "hub:"}, ["org/b"]),
        ({"source": "path:*/c"}, ["org/c"]),
        ({"source": "' or true --"}, []),
        ({"since": "2026-11-24"}, ["org/c"]),
        ({"since": "2026-11-24T13:00+00:00"}, []),
    ],
)
def test_filters_choose_models(root: Path, options: dict[str, str], left: list[str]) -> None:
    assert [row["model_id"] for row in board(root, within="none", **options).rows] == left


def test_a_day_that_is_none_is_named(root: Path) -> None:
    with pytest.raises(
        QueryError, match="--since: got 'yesterday', wanted a day such as 2026-11-27"
    ):
        board(root, since="yesterday")


def test_traps_are_counted_a_million_parameters(root: Path) -> None:
    """`d` has no sizes of layers: it has no such score."""
    rows = {row["model_id"]: row for row in board(root, "traps-per-million").rows}
    assert [rows[f"org/{m}"]["traps_per_million"] for m in "abcd"] == [1.0, 0.2, 0.0, None]
    assert (rows["org/a"]["low"], rows["org/a"]["high"]) == (1.0, 1.0), "all layers are alike"
    assert rows["org/a"]["rank"] == 1 and rows["org/b"]["rank"] == 2


def test_a_ratio_is_as_sure_as_its_layers_are_alike(tmp_path: Path) -> None:
    layers = [{"num_traps": float(i % 3), "num_params": 10**6 * (1 + i % 2)} for i in range(12)]
    commit(str(tmp_path), layers=layers)
    (row,) = board(tmp_path, "traps-per-million").rows
    assert row["traps_per_million"] == pytest.approx(12 / 18)
    assert 0.0 <= row["low"] < 12 / 18 < row["high"]


def test_active_traps_are_those_of_models_that_were_probed(root: Path) -> None:
    found = board(root, "active-traps")
    rows = {row["model_id"]: row for row in found.rows}
    assert [rows[f"org/{m}"]["mean_active_traps"] for m in "abcd"] == [None, 1.0, 0.0, 0.0]
    assert rows["org/b"]["rank"] == 1
    assert rows["org/a"]["reason"] == "traps not probed, or not all of them: run `zoo probe`"


def test_the_composite_is_the_mean_of_three_percentile_ranks(root: Path) -> None:
    """Traps rank c, d (0), a (2/3), b (1); alpha a, b, c, d; alignment d (0), then a, b, c (1/3)."""
    rows = {row["model_id"]: row for row in board(root, "composite").rows}
    parts = {
        "a": (2 / 3, 0, 1 / 3), "b": (1, 1 / 3, 1 / 3), "c": (0, 2 / 3, 1 / 3), "d": (0, 1, 0),
    }  # fmt: skip
    for name, shares in parts.items():
        row = rows[f"org/{name}"]
        assert (row["traps_share"], row["alpha_share"], row["alignment_share"]) == pytest.approx(
            shares
        )
        assert row["composite"] == pytest.approx(sum(shares) / 3)
        assert row["low"] == row["high"] == pytest.approx(row["composite"]), "no layer differs"
    assert [rows[f"org/{m}"]["rank"] for m in "abcd"] == [1, 4, 2, 3], "ties by model id"


def test_what_moved_since_the_last_sweep(tmp_path: Path) -> None:
    """b overtakes a by a new revision, n is new, g has a new revision without enough layers."""
    root = str(tmp_path)
    sweep(root, "s1", ["org/a", "org/b", "org/g"], minute=0)
    for name, alpha in (("org/a", 3.0), ("org/b", 4.0), ("org/g", 5.0)):
        commit(root, name, layers=[{"alpha": alpha}] * 5, minute=1)
    assert board(tmp_path).last_sweep is None, "nothing to compare with"
    assert {row["moved"] for row in board(tmp_path).rows} == {None}
    sweep(root, "s2", ["org/a", "org/n"], minute=60)
    new = {"sweep_id": "s2", "revision": "e" * 40}
    listed = [keys("org/a", sweep_id="s2"), keys("org/b", **new), keys("org/g", **new),
              keys("org/n", sweep_id="s2")]  # fmt: skip
    record_listing(root, "s2", [{**row, "listed_at": NOON + timedelta(hours=1)} for row in listed])
    commit(root, "org/b", layers=[{"alpha": 2.0}] * 5, minute=61, **new)
    commit(root, "org/g", layers=[{"alpha": 2.0}] * 2, minute=61, **new)
    commit(root, "org/n", layers=[{"alpha": 9.0}] * 5, minute=61, sweep_id="s2")
    found = board(tmp_path, top=2)
    rows = {row["model_id"]: (row["moved"], row["rank_before"]) for row in found.rows}
    assert rows == {"org/b": ("▲1", 2), "org/a": ("▼1", 1), "org/g": ("gone", None)}
    assert board(tmp_path).rows[2]["moved"] == "new"
    assert found.last_sweep is not None


def test_the_terminal_shows_moves_and_bands(
    root: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("rank", "composite", root, "--within", "size") == 0
    out = capsys.readouterr().out
    assert "Size 3 B to 10 B (2 models)" in out and "Size not known (1 model)" in out
    assert "mean of the percentile ranks by traps" in " ".join(out.split())
    assert zoo("rank", "alpha", root, "--by", "author", "--format", "md") == 0
    assert "### author x (2 models)" in capsys.readouterr().out


def test_status_says_when_compaction_is_due(
    root: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert zoo("status", root) == 0 and "zoo compact" not in capsys.readouterr().err
    monkeypatch.setattr("catalog.read.status.MANY_FILES", 8)
    assert zoo("status", root) == 0
    assert "8 files are not merged yet" in capsys.readouterr().err


CONFIG = {"num_local_experts": 8, "num_experts_per_tok": 2, "model_type": "mixtral"}


@pytest.mark.parametrize(
    ("shapes", "config", "expected"),
    [
        ({"model.embed_tokens.weight": (100, 8), "lm_head.weight": (100, 8)}, {}, (800, 1600)),
        ({"model.layers.0.block_sparse_moe.experts.3.w1.weight": (8, 8)}, CONFIG, (0, 16)),
        ({"model.layers.0.mlp.experts.gate_up_proj": (8, 4, 4)}, CONFIG, (0, 32)),
        ({"model.layers.0.mlp.experts.gate_up_proj": (8, 4, 4)}, {}, (0, None)),
        ({"model.layers.0.mlp.shared_expert.gate_proj.weight": (4, 4)}, CONFIG, (0, 16)),
        ({"model.layers.0.mlp.gate.weight": (8, 4)}, CONFIG, (0, 32)),
        (
            {"model.layers.0.mlp.experts.gate_up_proj": (8, 4, 4)},
            {"num_local_experts": 8, "num_selected_experts": 4},
            (0, 64),
        ),
    ],
    ids=["dense", "numbered", "stack", "unknown", "shared", "router", "another-name"],
)
def test_active_and_embedding_parameters(
    shapes: dict[str, tuple[int, ...]], config: dict[str, object], expected: tuple[int, int | None]
) -> None:
    counts = param_counts(shapes, config)
    assert (counts.embedding, counts.active) == expected
