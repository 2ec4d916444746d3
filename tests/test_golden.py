"""Every number of a small zoo against a committed text: no stored value moves unnoticed."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from tests import golden_zoo
from tests.golden_zoo import ABSENT, GOLDEN, TABLES, Golden, committed, differences, dump, report

NEVER = {
    "layers": {"num_active_traps"},  # of probes, as those of traps below
    "spectra": set(),
    "models": {
        "author",
        "downloads",
        "likes",
        "activation_sparsity",  # of probes, as those below
        "circuit_complexity",
        "diagnostics_data",
        "diagnostics_reason",
        "measured_at",
        "pruned_at",
    },  # the Hub's, and of what is measured for another row
    "traps": {  # of probes, which the golden zoo does not make
        "jsd",
        "jsd_stderr",
        "jsd_control_p95",
        "probe_data",
        "probe_kind",
        "num_probes",
        "temperature",
        "num_controls",
        "probe_reason",
    },
}
"""Columns that no folder of weights fills."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """The golden zoo, measured now."""
    return golden_zoo.measure(tmp_path_factory.mktemp("golden"))


def test_every_number_of_the_golden_zoo_is_the_committed_one(found: Golden) -> None:
    moved = list(differences(committed(), found))
    assert not moved, report(moved)


def test_every_column_has_a_value_somewhere_in_the_golden_zoo(found: Golden) -> None:
    for table, rows in found.items():
        columns = {column for row in rows.values() for column in row}
        filled = {c for row in rows.values() for c, value in row.items() if value is not None}
        assert columns - filled == NEVER[table], table


def test_the_committed_text_is_as_the_command_writes_it() -> None:
    golden = committed()
    for table in TABLES:
        assert (GOLDEN / f"{table}.json").read_text() == dump(golden[table]), table
    assert {path.stem for path in GOLDEN.iterdir()} == set(TABLES)


@pytest.mark.parametrize(
    ("table", "column", "factor", "group"),
    [
        ("layers", "alpha", 1.000001, "moved: tail"),
        ("layers", "lambda_max", 1.000001, "moved: scalars"),
        ("layers", "erg_log_ratio", 1.0001, "moved: erg"),
        ("layers", "rand_lambda_max", 1.00001, "moved: shuffle"),
        ("traps", "eigenvalue", 1.00001, "moved: traps"),
        ("traps", "p_value", 1.1, "moved: traps"),
        ("models", "num_params", 2, "NUMBERS_VERSION"),
        ("layers", "bytes_read", 2, "NUMBERS_VERSION"),
    ],
)
def test_a_value_that_moves_is_named_with_what_to_do(
    table: str, column: str, factor: float, group: str
) -> None:
    golden = committed()
    moved = copy.deepcopy(golden)
    name = next(name for name, row in golden[table].items() if row[column])
    was = golden[table][name][column]
    assert isinstance(was, float | int)
    moved[table][name][column] = was * factor
    (difference,) = differences(golden, moved)
    assert (difference.table, difference.row, difference.column) == (table, name, column)
    told = report([difference])
    for word in (name, column, repr(was), repr(was * factor), group, "CHANGELOG.md",
                 golden_zoo.COMMAND):  # fmt: skip
        assert word in told


def test_a_moved_eigenvalue_a_changed_word_and_a_null_are_seen() -> None:
    golden = committed()
    moved = copy.deepcopy(golden)
    name = next(name for name, row in golden["layers"].items() if row["tail_status"] == "ok")
    moved["spectra"][name]["eigenvalues"][-1] *= 1.00001  # type: ignore[index]
    moved["layers"][name]["tail_status"] = "too_few"
    moved["layers"][name]["alpha"] = None
    seen = {(d.table, d.column) for d in differences(golden, moved)}
    assert seen == {("spectra", "eigenvalues"), ("layers", "tail_status"), ("layers", "alpha")}


def test_columns_and_rows_that_come_or_go_are_seen() -> None:
    golden = committed()
    moved = copy.deepcopy(golden)
    first, second, *_ = golden["layers"]
    del moved["layers"][first]
    del moved["layers"][second]["alpha"]
    moved["layers"]["all: golden/new fc.weight"] = {}
    moved["traps"][next(iter(golden["traps"]))]["brand_new"] = None
    seen = [(d.column, d.was, d.now) for d in differences(golden, moved)]
    assert ("the whole row", "there", ABSENT) in seen and ("the whole row", ABSENT, "there") in seen
    assert ("brand_new", ABSENT, None) in seen
    assert [(column, now) for column, _, now in seen if column == "alpha"] == [("alpha", ABSENT)]
    assert len(seen) == 4


def test_the_weights_of_the_golden_zoo_are_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """The fingerprints in models.json say so too; this one says which array it was."""
    assert golden_zoo.noise(1, 3).tolist() == NOISE
    assert golden_zoo.heavy(1, 2, 1).ravel().tolist() == HEAVY
    assert golden_zoo.codes(1, 4).tolist() == CODES


NOISE = [-0.6555488014377461, -1.814784470227555, -0.13806591431667414]
HEAVY = [-1.1238094393332514, -1.8373074989812668]
CODES = [243, 187, 246, 174]
