"""No secret leaves a process by what it says or stores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.runners.schedule import UnitFailed
from jobs.screen.progress import Progress
from jobs.screen.secrets import redacted

TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz"
"""Nobody's."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"401 for {TOKEN}.", "401 for ***."),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer ***"),
        ("https://user:hunter22@host/x", "https://user:***@host/x"),
        ("GET https://x/y?X-Amz-Signature=0123456789abcdef&a=1", "GET https://x/y?X-Amz-Signature=***&a=1"),
        ("key AKIAABCDEFGHIJKLMNOP", "key ***"),
        ("the password is correct-horse", "the password is ***"),
        ("s3://bucket/zoo: 12:30@noon, owner/name@main", "s3://bucket/zoo: 12:30@noon, owner/name@main"),
        ("short and /run/secrets/x stay", "short and /run/secrets/x stay"),
    ],
    ids=["token", "header", "url", "signed", "aws", "environment", "harmless", "short"],
)  # fmt: skip
def test_secrets_are_struck_out_and_nothing_else_is(text: str, expected: str) -> None:
    environment = {"DB_PASSWORD": "correct-horse", "MY_TOKEN": "short", "HF_TOKEN_PATH": "/run/secrets/x"}  # fmt: skip
    assert redacted(text, environment) == expected


def test_progress_says_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    Progress(quiet=False, is_terminal=False).failed("a/b", None, "bug", f"got {TOKEN}")
    assert capsys.readouterr().err == "a/b: failed (bug): got ***\n"


def test_an_error_of_the_command_says_no_secret(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "status", f"{tmp_path}/{TOKEN}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and TOKEN not in done.stderr and "/***" in done.stderr


def test_rows_of_failures_hold_no_secret(tmp_path: Path) -> None:
    from catalog.read.query import ask
    from catalog.read.views import connect
    from jobs.spec.load import parse_spec
    from jobs.sweep.ledger import Ledger
    from jobs.units.listed import units_of

    (tmp_path / "none").mkdir()
    spec = parse_spec('[[source]]\npath = "none"\n', folder=tmp_path)
    (unit,) = units_of(spec, lambda text: None)
    ledger = Ledger(str(tmp_path / "cat"), name="n", spec_text=f"# {TOKEN}")
    ledger.begin(ledger.choose([unit], "never"))
    ledger.fail(UnitFailed(unit, "bug", "ValueError", f"m {TOKEN}", f"t {TOKEN}", 1))
    with connect(str(tmp_path / "cat")) as con:
        (row,) = ask(con, "select message, traceback from failures").to_pylist()
        (sweep,) = ask(con, "select spec from sweeps").to_pylist()
    assert row == {"message": "m ***", "traceback": "t ***"} and sweep == {"spec": "# ***"}
