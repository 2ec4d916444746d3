"""The commands as a user types them: formats, exit codes, where output goes."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.__main__ import run
from tests.catalogs import commit
from tests.conftest import Zoo
from tests.models import small_zoo, weights, write_model

Caught = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small models, swept once for the whole module."""
    root = tmp_path_factory.mktemp("cli")
    spec = small_zoo(root)
    assert run(["sweep", str(spec), "--out", str(root / "cat"), "-j", "1", "--quiet"]) == 0
    return root / "cat"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", weights(3, (60, 40), (40, 30)))


BOARDS = ("traps", "alignment", "alpha", "alpha-hat", "log-alpha-norm")


@pytest.mark.parametrize("board", BOARDS)
def test_every_board_ranks_from_one(board: str, catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("rank", board, catalog, "--min-layers", 2, "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(row["verdict"] and row["reason"] is None for row in rows)


def test_rows_without_a_rank_come_last_and_say_why(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("rank", "alpha", catalog, "--format", "json") == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert [row["rank"] for row in rows] == [None] * 3
    assert {row["reason"] for row in rows} == {"2 layers fitted, fewer than 5"}
    assert "3 models without a rank" in printed.err


@pytest.mark.parametrize("format", ["table", "md"])
def test_a_board_says_what_it_is_about(
    format: str, catalog: Path, zoo: Zoo, capsys: Caught
) -> None:
    assert zoo("rank", "traps", catalog, "--min-layers", 2, "--format", format) == 0
    out = capsys.readouterr().out
    assert "Correlation Traps a layer: rank 1 has the most, which is bad" in out
    assert re.search(r"3 models ranked\. Analysis [0-9a-f]{8}, newest measurement \d{4}-", out)
    assert "Family mlp (3 models)" in out and "Verdict" in out
    assert zoo("rank", "traps", catalog, "--format", format) == 0
    assert "Below the line: no rank (3 models)" in capsys.readouterr().out


def test_a_board_says_whether_it_agrees_with_results(
    tmp_path: Path, zoo: Zoo, capsys: Caught
) -> None:
    for number in range(8):
        claims = [{"dataset": "D", "metric": "test_accuracy", "value": number / 8}]
        layers = [{"alpha": 2.0 + number}] * 5
        commit(str(tmp_path), f"org/m{number}", evaluations=claims, layers=layers)
    assert zoo("rank", "alpha", tmp_path, "--against", "D:test_accuracy") == 0
    out = capsys.readouterr().out
    assert "Against D:test_accuracy (more is better)" in out
    assert "runs against the results" in out
    assert zoo("rank", "alpha", tmp_path, "--against", "D:loss") == 2


def test_a_quiet_board_is_rows_alone(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("rank", "traps", catalog, "--min-layers", 2, "--quiet") == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 4


def test_json_keeps_numbers_as_numbers_and_null_as_null(
    catalog: Path, zoo: Zoo, capsys: Caught
) -> None:
    query = "select 1.5 as a, null as b, 'x' as c, [1, 2] as d"
    assert zoo("sql", catalog, query, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == [{"a": 1.5, "b": None, "c": "x", "d": [1, 2]}]


def test_csv_has_a_header_and_empty_cells_for_null(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    zoo("sql", catalog, "select 'a,b' as x, null as y", "--format", "csv")
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [["x", "y"], ["a,b", ""]]


def test_markdown_escapes_what_would_break_the_table(
    catalog: Path, zoo: Zoo, capsys: Caught
) -> None:
    zoo("sql", catalog, "select 'a|b<i>' as x", "--format", "md")
    assert capsys.readouterr().out.splitlines()[2] == "| a\\|b&lt;i> |"


def test_control_characters_never_reach_a_terminal(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    zoo("sql", catalog, "select chr(27) || '[31mred' as x")
    assert "\x1b" not in capsys.readouterr().out


def test_control_characters_never_reach_a_terminal_in_a_message(
    catalog: Path, zoo: Zoo, capsys: Caught
) -> None:
    assert zoo("sql", catalog, 'select * from "\x1b[31m"') == 2
    assert zoo("show", catalog, "\x1b[31m") == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_where_condition_filters(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    where = "model_id = 'local/model1'"
    assert zoo("rank", "alpha", catalog, "--where", where, "--format", "json") == 0
    assert [row["model_id"] for row in json.loads(capsys.readouterr().out)] == ["local/model1"]


def test_a_wrong_condition_is_bad_use(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("rank", "alpha", catalog, "--where", "nope > 1") == 2
    assert "nope" in capsys.readouterr().err


def test_show_lists_the_layers_of_a_model(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("show", catalog, "local/model0", "--format", "json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_show_suggests_a_model_that_exists(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("show", catalog, "local/model9") == 2
    assert "local/model" in capsys.readouterr().err


def test_compare_puts_two_models_side_by_side(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("compare", catalog, "local/model0", "local/model1", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)[0]["presence"] == "both"


def test_status_counts_what_is_there(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("status", catalog, "--format", "json") == 0
    rows = {row["item"]: row["value"] for row in json.loads(capsys.readouterr().out)}
    assert (rows["listed"], rows["done"], rows["missing"]) == (3, 3, 0)


def test_sql_reads_a_file(catalog: Path, zoo: Zoo, tmp_path: Path, capsys: Caught) -> None:
    (tmp_path / "q.sql").write_text("select count(*) as n from layers")
    assert zoo("sql", catalog, "-f", tmp_path / "q.sql", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 9}]


def test_the_prompt_takes_a_pasted_statement_whole(catalog: Path) -> None:
    keyboard, terminal = pty.openpty()
    command = [sys.executable, "-m", "jobs", "sql", str(catalog), "--format", "csv"]
    os.write(keyboard, b"select count(*) as n\nfrom models;\nexit\n")
    done = subprocess.run(command, stdin=terminal, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "n\n3\n")
    assert "zoo> " in done.stderr


def test_a_statement_without_rows_prints_nothing(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("sql", catalog, "set threads = 1") == 0
    assert capsys.readouterr() == ("", "")


def test_wrong_sql_is_bad_use(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("sql", catalog, "select nonsense") == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_folder_that_is_no_catalog_is_bad_use(zoo: Zoo, tmp_path: Path, capsys: Caught) -> None:
    assert zoo("status", tmp_path) == 2
    assert "no catalog" in capsys.readouterr().err


def test_check_finds_nothing_wrong_with_a_fresh_catalog(catalog: Path, zoo: Zoo) -> None:
    assert zoo("check", catalog) == 0


@pytest.mark.parametrize("format", ["table", "csv", "json", "md"])
def test_analyze_prints_a_row_per_layer(format: str, model: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("analyze", model, "--format", format) == 0
    assert capsys.readouterr().out.count("layers.") >= 2


def test_analyze_writes_parquet(model: Path, zoo: Zoo, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "layers.parquet"
    assert zoo("analyze", model, "--format", "parquet", "--out", out) == 0
    table = pq.read_table(out)
    assert table.num_rows == 2
    assert {"alpha", "num_traps", "erg_delta"} <= set(table.column_names)


def test_analyze_of_nothing_says_what_it_wanted(zoo: Zoo, tmp_path: Path, capsys: Caught) -> None:
    assert zoo("analyze", tmp_path / "nope") == 2
    assert "no such folder or file" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--threads=0", "--seed=-1"])
def test_analyze_refuses_numbers_that_make_no_sense(
    option: str, model: Path, zoo: Zoo, capsys: Caught
) -> None:
    assert zoo("analyze", model, option) == 2
    assert f"{option.replace('=', ': got ')}; wanted" in capsys.readouterr().err


def test_a_weight_file_that_is_not_there_is_not_looked_for_on_the_hub(
    zoo: Zoo, capsys: Caught
) -> None:
    assert zoo("analyze", "nowhere/model.safetensors") == 2
    assert "no such folder or file" in capsys.readouterr().err


def test_analyze_of_several_models_hints_at_a_command_that_works(
    zoo: Zoo, tmp_path: Path, capsys: Caught, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_zoo(tmp_path)
    (tmp_path / "zoo").rename(tmp_path / "my zoo")
    assert zoo("analyze", tmp_path / "my zoo") == 2
    said = capsys.readouterr().err
    assert "holds 3 models" in said
    monkeypatch.chdir(tmp_path)
    assert zoo(*shlex.split(said.splitlines()[-1])[1:]) == 0
    assert "3 done" in capsys.readouterr().err


def test_a_model_with_a_failed_layer_exits_one(zoo: Zoo, tmp_path: Path) -> None:
    tensors = weights(0, (30, 20))
    tensors["layers.0.weight"][0, 0] = float("nan")
    assert zoo("analyze", write_model(tmp_path / "m", tensors)) == 1


def test_plan_prints_the_account(zoo: Zoo, tmp_path: Path, capsys: Caught) -> None:
    spec = small_zoo(tmp_path)
    assert zoo("plan", spec, "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(r["model"], r["layers"], r["unknown"]) for r in rows] == [
        (f"local/model{i}", 3, 0) for i in range(3)
    ]


def test_plan_names_what_cannot_be_opened(zoo: Zoo, tmp_path: Path, capsys: Caught) -> None:
    spec = small_zoo(tmp_path)
    path = tmp_path / "zoo" / "model1" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert zoo("plan", spec) == 1
    assert "cut short" in capsys.readouterr().out


def test_a_wrong_spec_is_bad_use_and_names_the_key(
    zoo: Zoo, tmp_path: Path, capsys: Caught
) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text("[sweeps]\n")
    assert zoo("sweep", spec, "--out", tmp_path / "cat") == 2
    assert "sweeps: unknown key; did you mean 'sweep'?" in capsys.readouterr().err
    assert not (tmp_path / "cat").exists()


def test_a_sweep_without_out_asks_for_it(zoo: Zoo, tmp_path: Path, capsys: Caught) -> None:
    assert zoo("sweep", small_zoo(tmp_path)) == 2
    assert "--out CATALOG" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "check", "rank traps", "sql", "plan"])
def test_quiet_leaves_standard_error_empty(
    command: str, catalog: Path, zoo: Zoo, capsys: Caught
) -> None:
    subject = catalog.parent / "spec.toml" if command == "plan" else catalog
    extra = ["from layers limit 0"] if command == "sql" else []
    assert zoo(*command.split(), subject, *extra, "--quiet") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_at_all_are_bad_use(
    workers: int, catalog: Path, zoo: Zoo, capsys: Caught
) -> None:
    spec = catalog.parent / "spec.toml"
    assert zoo("sweep", spec, "--out", catalog, "--workers", workers) == 2
    assert f"--workers: got {workers}; wanted 1 or more" in capsys.readouterr().err


def test_unknown_arguments_are_bad_use(zoo: Zoo) -> None:
    assert zoo("rank", "beauty", "cat") == 2


_STOP_IN_EXEC = """
import jobs.__main__ as command
command.run = lambda arguments: exec(
    "import os, signal; os.kill(os.getpid(), signal.SIGINT); sum(range(10**6))"
)
command.main([])
"""


def test_an_interrupted_import_exits_75(tmp_path: Path) -> None:
    (tmp_path / "stopped.py").write_text(_STOP_IN_EXEC)
    command = [sys.executable, "-m", "stopped"]
    path = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[1]}"}
    done = subprocess.run(command, capture_output=True, text=True, env=path)
    assert (done.returncode, done.stderr) == (75, "zoo: interrupted\n")


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from jobs.__main__ import run; run(['--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'duckdb', 'ray', 'pyarrow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_importing_zoo_needs_no_torch() -> None:
    code = "import sys, zoo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_output_into_a_closed_pipe_is_no_error(catalog: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m jobs sql {catalog} 'from layers' | head -1",
        shell=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["refit", "compact"])
def test_a_folder_that_is_no_catalog_is_left_as_it_was(
    command: str, zoo: Zoo, tmp_path: Path, capsys: Caught
) -> None:
    """The lock's file used to be made first, also in a folder that was not there."""
    (tmp_path / "other").mkdir()
    for folder in (tmp_path / "other", tmp_path / "nope"):
        assert zoo(command, folder) == 2
        assert "no catalog in" in capsys.readouterr().err
    assert [p.name for p in tmp_path.rglob("*")] == ["other"]


def test_outputs_are_checked_before_anything_is_measured(
    model: Path, zoo: Zoo, tmp_path: Path, capsys: Caught
) -> None:
    (tmp_path / "file").write_text("")
    for options in (
        ("--plot", tmp_path / "file"),
        ("--format", "parquet", "--out", tmp_path / "nope" / "x.parquet"),
        ("--format", "parquet", "--out", tmp_path),
    ):
        assert zoo("analyze", model, *options) == 2
        caught = capsys.readouterr()
        assert f"{options[-2]}: got" in caught.err and "wanted" in caught.err
        assert not caught.out and "layers:" not in caught.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("analyze", ""), "empty path"),
        (("hub", "serve", ".", "--port", "99999"), "--port: got 99999; wanted 1 to 65535"),
        (("plan", "x.toml", "--headers", "-1"), "--headers: got -1; wanted 0 or more"),
    ],
)
def test_arguments_that_make_no_sense_are_named(
    arguments: tuple[str, ...], words: str, zoo: Zoo, capsys: Caught
) -> None:
    assert zoo(*arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("query", ["", " ; \n"])
def test_an_empty_query_is_bad_use(query: str, catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    assert zoo("sql", catalog, query) == 2
    assert "empty query" in capsys.readouterr().err


def test_an_address_without_ray_is_not_ignored(zoo: Zoo, tmp_path: Path, capsys: Caught) -> None:
    spec = small_zoo(tmp_path)
    assert zoo("sweep", spec, "--out", tmp_path / "cat", "--address", "1.2.3.4:6379") == 2
    assert "wanted --runner ray" in capsys.readouterr().err


def test_the_hub_is_asked_only_for_what_may_be_an_id(zoo: Zoo, capsys: Caught) -> None:
    from zoo.io.addresses import names_hub

    assert names_hub("owner/name@main") and names_hub("gpt2")
    for text in ("./x", "/x/y", "~/x", "a/b/c", "x.safetensors", "s3://a/b", "", "."):
        assert not names_hub(text)
    assert zoo("analyze", "./nowhere") == 2
    assert "Hub\n" not in capsys.readouterr().err


def test_help_has_exit_codes_and_no_negated_flags(zoo: Zoo, capsys: Caught) -> None:
    for arguments in (("--help",), ("sweep", "--help"), ("hub", "serve", "--help")):
        assert zoo(*arguments) == 0
        text = capsys.readouterr().out
        assert "75 interrupted" in text and "--no-" not in text and "--empty-" not in text


def test_an_unknown_revision_says_how_to_list_them(catalog: Path, zoo: Zoo, capsys: Caught) -> None:
    zoo("sql", catalog, "select model_id from models limit 1", "--format", "csv")
    name = capsys.readouterr().out.split()[1]
    assert zoo("show", catalog, f"{name}@zzz") == 2
    said = capsys.readouterr().err
    assert (
        f"zoo sql CATALOG \"select revision, step from models where model_id = '{name}'\"" in said
    )
