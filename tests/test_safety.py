"""SQL of a user reads the catalog and nothing else; files that are broken are named; output that is awkward."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.errors import QueryError, StorageError
from catalog.files.folder import Folder
from catalog.read import views
from catalog.read.query import ask
from catalog.read.safety import check_statements
from tests.catalogs import ROOT, commit
from tests.conftest import Zoo

HOSTILE = "org/\x1b[31mred\x07"


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A catalog of one model, beside a file of somebody else."""
    root = tmp_path / "catalog"
    commit(str(root))
    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    return root


def contents(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.mark.parametrize(
    "query",
    [
        "from read_csv('{0}/secret.csv')",
        "select * from read_text('{0}/catalog/../secret.csv')",
        "from '{0}/secret.csv'",
        "copy (select 1) to '{0}/catalog/models/hot/x.parquet'",
        "copy (select 1) to '{0}/new.csv'",
        "select 1; copy (select 1) to '{0}/catalog/x'",
        "explain analyze copy (select 1) to '{0}/catalog/x'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{0}/catalog/x'",
        "prepare p as copy (select 1) to '{0}/catalog/x'",
        "attach '{0}/catalog/x.db' as other",
        "export database '{0}/catalog/x'",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "set temp_directory = '{0}/spill'",
        "install httpfs",
        "load httpfs",
    ],
)
def test_a_query_reaches_nothing_but_the_catalog_and_writes_nothing(
    query: str, catalog: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(catalog.parent)
    assert zoo("sql", catalog, query.format(catalog.parent)) == 2
    assert contents(catalog.parent) == before
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from layers",
        "create temp table t as from models; select count(*) from t",
        "explain select 1",
        "set variable x = 3; select getvariable('x')",
        "show tables",
    ],
)
def test_what_stays_in_memory_is_allowed(query: str, catalog: Path, zoo: Zoo) -> None:
    assert zoo("sql", catalog, query) == 0


def test_other_files_are_open_when_asked_for_and_the_catalog_stays_closed_to_writing(
    catalog: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = catalog.parent
    assert zoo("sql", catalog, f"from read_csv('{here}/secret.csv')", "--allow-files") == 0
    assert "secret" in capsys.readouterr().out
    assert zoo("sql", catalog, f"copy (from models) to '{here}/m.parquet'", "--allow-files") == 0
    assert (here / "m.parquet").exists()
    monkeypatch.chdir(catalog)
    for target in (catalog / "x.parquet", "models/hot/x.parquet", here / "catalog/../catalog/x"):
        assert zoo("sql", catalog, f"copy (select 1) to '{target}'", "--allow-files") == 2
        assert "inside the catalog" in capsys.readouterr().err


def test_a_condition_of_a_board_opens_no_file(
    catalog: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"(select count(*) from read_text('{catalog.parent}/secret.csv')) > 0"
    assert zoo("rank", "traps", catalog, "--where", where) == 2
    assert "file system operations are disabled" in capsys.readouterr().err


def test_a_variable_of_this_program_is_no_table(catalog: Path) -> None:
    rows = pa.table({"a": [1]})
    with views.connect(catalog) as con, pytest.raises(QueryError, match="rows"):
        ask(con, "from rows")
    assert rows.num_rows == 1


def test_a_statement_that_cannot_be_parsed_is_left_to_the_database(catalog: Path) -> None:
    with views.connect(catalog) as con:
        check_statements(con, "selec 1", Folder.parse(catalog), allow_files=False)


@pytest.mark.parametrize("rest", [b"", b"PAR1", b"x" * 400], ids=["empty", "short", "foreign"])
def test_a_file_that_is_no_parquet_is_named_and_not_the_query(
    rest: bytes, catalog: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = (catalog / "layers" / "hot").iterdir()
    file.write_bytes(rest)
    for command in (("sql", catalog, "select alpha from layers"), ("rank", "alpha", catalog)):
        assert zoo(*command) == 1
        said = capsys.readouterr().err
        assert file.name in said and "run `zoo check`" in said and "the query" not in said


def test_a_parquet_file_of_another_program_is_named_and_not_the_query(
    catalog: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    file = catalog / "layers" / "hot" / "theirs.parquet"
    pq.write_table(pa.table({"x": [1]}), file)
    for command in (("sql", catalog, "select alpha from layers"), ("rank", "alpha", catalog)):
        assert zoo(*command) == 1
        said = capsys.readouterr().err
        assert str(file) in said and "run `zoo check`" in said and "union_by_name" not in said


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from '{0}/none.csv'", "none.csv"),
        ("from read_parquet('https://127.0.0.1:1/x.parquet')", "the extension httpfs"),
        ("install httpfs", "'install' reaches beyond"),
    ],
)
def test_what_fails_beyond_the_catalog_is_not_its_fault(
    query: str, said: str, catalog: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    text = query.format(catalog.parent)
    assert zoo("sql", catalog, text, "--allow-files") == 2
    err = capsys.readouterr().err
    assert said in err and "zoo check" not in err


def test_a_torn_file_is_named(catalog: Path) -> None:
    (file,) = (catalog / "layers" / "hot").iterdir()
    file.write_bytes(file.read_bytes()[:-30])
    with views.connect(catalog) as con, pytest.raises(StorageError, match="zoo check"):
        ask(con, "select alpha from layers")


@pytest.mark.parametrize("form", ["csv", "table", "md", "json"])
def test_hostile_names_bring_no_terminal_codes(
    form: str, tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(str(tmp_path / "cat"), HOSTILE)
    assert zoo("sql", tmp_path / "cat", "select model_id from models", "--format", form) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}],
    ids=["C", "POSIX", "ascii"],
)
def test_any_locale_prints_any_name(locale: dict[str, str], tmp_path: Path) -> None:
    root = tmp_path / "katalog-λ-日本"
    commit(str(root), "org/modèle-λ")
    ran = subprocess.run(
        [sys.executable, "-m", "jobs", "sql", str(root), "select model_id from models"],
        capture_output=True, cwd=ROOT, env={**os.environ, **locale}, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert b"Traceback" not in ran.stderr and b"org/mod" in ran.stdout
