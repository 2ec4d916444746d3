"""Commands that fit the hand: sources instead of a spec, a spec to start from, names cut short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.errors import SpecError
from jobs.spec.load import parse_spec
from jobs.spec.starting import COMMENTED, spec_of_sources
from tests.conftest import Zoo
from tests.models import weights, write_model


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two model folders, one of them with a quote in its name, and a catalog of both."""
    from jobs.__main__ import run

    root = tmp_path_factory.mktemp("hand")
    for number, name in enumerate(("first", 'sec"ond')):
        write_model(root / name, weights(number, (40, 30), (60, 24)))
    sources = [str(root / "first"), str(root / 'sec"ond')]
    assert run(["sweep", *sources, "--out", str(root / "cat"), "-j", "1", "--quiet"]) == 0
    return root


def rows(
    zoo: Zoo, capsys: pytest.CaptureFixture[str], *arguments: object
) -> list[dict[str, object]]:
    capsys.readouterr()
    assert zoo(*arguments, "--format", "json") == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def test_sources_are_swept_without_a_spec_and_listed(
    swept: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = rows(zoo, capsys, "ls", swept / "cat")
    assert [row["model_id"] for row in listed] == ["local/first", 'local/sec"ond']
    assert [row["layers_analysed"] for row in listed] == [2, 2]


def test_the_same_sources_again_resume(
    swept: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("sweep", swept / "first", swept / 'sec"ond', "--out", swept / "cat", "-j", 1) == 0
    assert "0 done, 2 skipped" in capsys.readouterr().err


def test_a_hub_id_is_a_source_and_so_is_its_revision(tmp_path: Path) -> None:
    spec, text = spec_of_sources(["owner/name@abc", "s3://bucket/model"], here=tmp_path)
    assert [(s.hub, s.revision, s.path) for s in spec.source] == [
        ("owner/name", "abc", None), (None, "main", "s3://bucket/model"),
    ]  # fmt: skip
    assert parse_spec(text, folder=tmp_path) == spec


@pytest.mark.parametrize("sources", [[], ["a.toml", "b"]], ids=["none", "a spec among others"])
def test_wrong_sources_are_named(sources: list[str], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"wanted|goes alone"):
        spec_of_sources(sources, here=tmp_path)


def test_the_spec_to_start_from_is_valid_with_every_line_of_it(tmp_path: Path) -> None:
    text = COMMENTED.format(name="sweep.toml")
    assert parse_spec(text, folder=tmp_path).sweep.name == "nightly"
    bare = [line.removeprefix("# ") if " = " in line else line for line in text.splitlines()]
    kinds = "\n".join(line for line in bare if not line.startswith("# [[")).replace(
        'hub = "owner/name"', '[[source]]\nhub = "owner/name"'
    )
    kinds = kinds.replace('hub = "Eleuther', '[[source]]\nhub = "Eleuther')
    kinds = kinds.replace("query = ", "[[source]]\nquery = ")
    assert len(parse_spec(kinds, folder=tmp_path).source) == 4


def test_init_writes_it_once(tmp_path: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo("init", tmp_path / "new.toml") == 0
    assert zoo("plan", tmp_path / "new.toml") == 2  # its checkpoints are not there
    assert "matches nothing" in capsys.readouterr().err
    assert zoo("init", tmp_path / "new.toml") == 2
    assert "is there" in capsys.readouterr().err


def test_a_board_takes_its_arguments_in_either_order(
    swept: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    there = rows(zoo, capsys, "rank", "traps", swept / "cat")
    assert rows(zoo, capsys, "rank", swept / "cat", "traps") == there
    assert zoo("rank", "trap", swept / "cat") == 2
    assert "wanted one of traps, traps-per-million, active-traps, alignment, alpha," in capsys.readouterr().err


def test_a_family_that_is_not_there_is_answered_with_the_nearest(
    swept: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("rank", "traps", swept / "cat", "--family", "mpl") == 2
    assert "the nearest: mlp" in capsys.readouterr().err


def test_the_name_of_a_model_will_do_where_it_is_unique(
    swept: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rows(zoo, capsys, "show", swept / "cat", "first") == rows(
        zoo, capsys, "show", swept / "cat", "local/first"
    )
    assert zoo("show", swept / "cat", "third") == 2
    assert "the nearest" in capsys.readouterr().err
