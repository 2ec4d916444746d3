"""The sweep spec: what is accepted, and what the messages say."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import SpecError
from jobs.spec.load import load_spec, parse_spec
from jobs.spec.tables import Spec

SOURCE = '[[source]]\npath = "models/*"\n'


def parse(text: str) -> Spec:
    return parse_spec(text, folder=Path("/data"), name="nightly.toml")


def test_relative_paths_are_relative_to_the_folder_of_the_spec() -> None:
    spec = parse('[sweep]\nout = "results"\n' + SOURCE)
    assert (spec.source[0].path, spec.sweep.out) == ("/data/models/*", "/data/results")


def test_urls_stay_as_they_are() -> None:
    assert parse('[[source]]\npath = "s3://bucket/zoo"\n').source[0].path == "s3://bucket/zoo"


def test_the_contracts_example_is_accepted() -> None:
    spec = parse(
        """
        [sweep]
        name = "nightly"
        out = "results"
        [[source]]
        hub = "openai/gpt-oss-20b"
        [[source]]
        hub = "EleutherAI/pythia-70m"
        revisions = "step*"
        [[source]]
        query = { author = "Qwen", sort = "downloads", limit = 50, max_params = "8B" }
        [[source]]
        path = "checkpoints/mlp/*"
        step_pattern = 'step(\\d+)'
        [layers]
        include = ["*"]
        exclude = ["*embed*"]
        min_evals = 8
        fused = "both"
        experts = "sample:4"
        [traps]
        shuffle = "full"
        replicates = 3
        seed = 7
        level = 0.05
        [probes]
        enabled = false
        [run]
        runner = "ray"
        cpus = 1
        memory = "4GB"
        retries = 2
        """
    )
    assert spec.source[2].query is not None
    assert spec.source[2].query.max_params == 8_000_000_000
    assert (spec.options.seed, spec.selection.fused, spec.run.memory) == (7, "both", 4_000_000_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sweep]\nnam = 'x'\n" + SOURCE, r"sweep\.nam: unknown key; did you mean 'name'"),
        ("[traps]\nlevel = 2\n" + SOURCE, r"traps\.level: got 2; wanted less than 0\.5"),
        ("[[source]]\npath = 'a'\n[[source]]\nhubb = 'b'\n", r"source\[1\]\.hubb: unknown key"),
        (
            "[[source]]\npath = 'a'\nhub = 'b'\n",
            r"source\[0\]: got path and hub|source\[0\]: got hub and path",
        ),
        ("[[source]]\nquery = {limit = 0}\n", r"source\[0\]\.query\.limit: got 0"),
        (
            "[[source]]\nquery = {max_params = 'big'}\n",
            r"source\[0\]\.query\.max_params: got 'big'; wanted",
        ),
        (
            "[[source]]\npath = 'a'\nstep_pattern = 'step'\n",
            r"source\[0\]\.step_pattern: .*wanted one group",
        ),
        (
            "[[source]]\npath = 'a'\nstep_pattern = '('\n",
            r"source\[0\]\.step_pattern: .*not a regular expression",
        ),
        ("[source]\npath = 'a'\n", r"source: got one \[source\] table; wanted \[\[source\]\]"),
        ("[sweep]\nname = 'x'\n", r"source: missing; wanted at least one \[\[source\]\]"),
        ("[run]\nmemory = 'lots'\n" + SOURCE, r"run\.memory: got 'lots'; wanted a size"),
        ("[probes]\nnum_probes = 1\n" + SOURCE, r"probes\.num_probes: got 1; wanted at least 2"),
        ("[layers]\ninclude = '*'\n" + SOURCE, r"layers\.include: got '\*'; wanted a list"),
        ("[layers]\nexperts = 'some'\n" + SOURCE, r"layers\.experts: .*wanted 'all' or 'sample:N'"),
        ("[traps]\nseed = -1\n" + SOURCE, r"traps\.seed: got -1; wanted at least 0"),
        (
            "[run]\nmax_bytes = '1.2.3GB'\n" + SOURCE,
            r"run\.max_bytes: got '1\.2\.3GB'; wanted a size",
        ),
        ("x =", r"not valid TOML"),
    ],
)
def test_a_wrong_key_is_named_with_its_path(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("size", "num_bytes"),
    [("7", 7), ("'7'", 7), ("'4GB'", 4 * 10**9), ("' 1.5 gib '", 3 * 2**29), ("'2Gi'", 2**31),
     ("'3k'", 3000), ("'1TiB'", 2**40)],
)  # fmt: skip
def test_a_size_has_a_unit_or_is_in_bytes(size: str, num_bytes: int) -> None:
    assert parse(f"[run]\nmemory = {size}\n" + SOURCE).run.memory == num_bytes


@pytest.mark.parametrize("size", ["-3", "4.5", "true", "'-1GB'", "'1e3'", "'4Gbit'", "'5IB'", "''"])
def test_what_is_no_size_is_told_what_one_is(size: str) -> None:
    with pytest.raises(SpecError, match=r"got .*; wanted a size such as 4GB or 512MiB"):
        parse(f"[run]\nmax_bytes = {size}\n" + SOURCE)


def test_every_wrong_key_has_a_line_of_its_own() -> None:
    with pytest.raises(SpecError) as caught:
        parse("[run]\nrunner = 'slurm'\nworkers = 0\n" + SOURCE)
    assert len(str(caught.value).splitlines()) == 2


def test_a_spec_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "zoo.toml").write_text(SOURCE, encoding="utf-8-sig")
    assert load_spec(tmp_path / "zoo.toml")[0].source[0].path == str(tmp_path / "models/*")


def test_a_spec_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file; wanted a sweep spec"):
        load_spec(tmp_path / "nope.toml")
