"""Readers while a writer replaces the files they read, hundreds a second.

DuckDB opens a file twice, so unprotected reads fail here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from catalog.care.compact import compact
from catalog.errors import StorageError, TornError
from catalog.files.duck import is_of_files, while_others_write
from catalog.read.query import ask
from catalog.read.views import connect
from catalog.write.finished import done_units
from tests.catalogs import commit

_MODELS = [f"org/{i}" for i in range(5)]


@pytest.fixture
def root(tmp_path: Path) -> str:
    """A catalog of five models of three layers each."""
    root = str(tmp_path / "cat")
    _fill(root, 3)
    return root


def _fill(root: str, layers: int) -> None:
    for i, model in enumerate(_MODELS):
        rows = [{"alpha": float(layers + i), "tensor": "x" * (1 + i + j)} for j in range(layers)]
        commit(root, model, layers=rows)


@contextmanager
def _replaced_all_the_time(root: str, other: str) -> Iterator[None]:
    """Every hot file of `root` takes the content of its namesake in `other`, and its own again."""
    paths = [p.relative_to(root) for p in Path(root).glob("*/hot/*.parquet")]
    paths = [path for path in paths if Path(other, path).exists()]
    contents = {p: [Path(folder, p).read_bytes() for folder in (other, root)] for p in paths}
    stop = threading.Event()

    def replace() -> None:
        number = 0
        while not stop.is_set():
            for path in paths:
                aside = Path(root, "_tmp", "aside")
                aside.write_bytes(contents[path][number % 2])
                os.replace(aside, Path(root, path))
                stop.wait(0.002)
            number += 1

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_every_answer_is_one_of_the_states(root: str, tmp_path: Path) -> None:
    _fill(str(tmp_path / "other"), 80)
    want = {(m, n, float(n + i), float(n + i)) for i, m in enumerate(_MODELS) for n in (3, 80)}
    query = "select model_id, count(*) n, min(alpha) lo, max(alpha) hi from layers group by all"
    with _replaced_all_the_time(root, str(tmp_path / "other")), connect(root) as con:
        for _ in range(40):
            found = {tuple(row.values()) for row in ask(con, query).to_pylist()}
            assert found <= want and {row[0] for row in found} == set(_MODELS)


def test_finished_units_are_counted_meanwhile(root: str, tmp_path: Path) -> None:
    for model in _MODELS:
        commit(str(tmp_path / "other"), model, sweep_id="s" * 50)
    with _replaced_all_the_time(root, str(tmp_path / "other")):
        for _ in range(40):
            assert len(done_units(root)) == 5


def _garble(root: str) -> None:
    path = next(Path(root, "layers", "hot").iterdir())
    data = bytearray(path.read_bytes())
    data[4 : len(data) // 3] = b"\xff" * (len(data) // 3 - 4)
    path.write_bytes(data)


def test_pages_that_stay_wrong_are_an_error_of_the_storage(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catalog.files.duck._PAUSE_S", 0)
    _garble(root)
    with connect(root) as con, pytest.raises(StorageError, match="run `zoo check` to find the"):
        ask(con, "select * from layers")
    with pytest.raises(TornError, match="run `zoo check`, move the file it names away"):
        compact(root, grace_s=0)


def test_what_is_wrong_with_a_query_is_not_asked_twice() -> None:
    asked = []
    with duckdb.connect() as con:
        for query in (
            "selec",
            "select 1 +",
            "from nothing",
            "select 'a'::int",
            "select error('no')",
        ):

            def read(query: str = query) -> None:
                asked.append(query)
                con.sql(query).fetchall()

            with pytest.raises(duckdb.Error) as raised:
                while_others_write(read)
            assert not is_of_files(raised.value)
    assert len(asked) == 5
