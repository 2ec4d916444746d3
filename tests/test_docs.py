"""README and docs: what they show parses and runs, what they list is there, what is generated is current."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest

from jobs import cli
from jobs.spec.load import parse_spec
from jobs.spec.tables import (
    LayersTable,
    ProbesTable,
    Query,
    RunTable,
    Source,
    SweepTable,
    TailTable,
    TrapsTable,
)
from tests.conftest import Zoo
from tests.models import weights, write_model
from zoo.columns import ONE, Group

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PACKAGES = ("zoo", "catalog", "jobs")
SPEC_TABLES = {
    "sweep": SweepTable,
    "source": Source,
    "layers": LayersTable,
    "traps": TrapsTable,
    "tail": TailTable,
    "probes": ProbesTable,
    "run": RunTable,
}
TINY = """
[sweep]
name = "nightly"
[[source]]
path = "zoo/local/*"
[[source]]
path = "zoo/Qwen/*"
name = "Qwen"
"""
"""What `nightly.toml` of the examples is here."""


def fenced(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every `$ zoo ...` line of every page, without its comment."""
    found: list[str] = []
    for page in PAGES:
        for block in fenced(page, "console"):
            lines = [line[2:] for line in block.splitlines() if line.startswith("$ zoo ")]
            found += [shlex.join(first_command(line)) for line in lines]
    return list(dict.fromkeys(found))


def first_command(line: str) -> list[str]:
    """Words up to where the shell goes on with a file or another command."""
    words = shlex.split(line, comments=True)
    ends = [number for number, word in enumerate(words) if word in (">", "|", "&&")]
    return words[: ends[0]] if ends else words


def is_runnable(command: str) -> bool:
    """Needs no network, no server and no minutes, and leaves the user's shell alone."""
    words = shlex.split(command)
    return words[1] not in ("hub", "demo", "completion") and "@" not in command


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the examples of the pages work: models, spec, catalog."""
    from jobs.__main__ import run

    root = tmp_path_factory.mktemp("example")
    names = ("local/base", "local/finetuned", "local/mymodel", "Qwen/Qwen3-0.6B")
    for number, name in enumerate(names):
        write_model(root / "zoo" / name, weights(number, (40, 30), (60, 24)))
    write_model(root / "path" / "to" / "model", weights(9, (40, 30)))
    for number, name in enumerate(("base", "finetuned")):
        write_model(root / name, weights(number, (40, 30)))
    (root / "nightly.toml").write_text(TINY)
    out = str(root / "results")
    assert run(["sweep", str(root / "nightly.toml"), "--out", out, "-j", "1", "--quiet"]) == 0
    return root


@pytest.mark.parametrize("command", commands())
def test_every_command_shown_parses(command: str) -> None:
    function, bound, _ = cli.app.parse_args(
        shlex.split(command)[1:], exit_on_error=False, print_error=False
    )
    assert callable(function) and bound is not None


@pytest.mark.parametrize("command", [c for c in commands() if is_runnable(c)])
def test_the_commands_shown_run(
    command: str, example: Path, zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--plot" in command:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(example)
    assert zoo(*shlex.split(command)[1:]) == 0


def test_the_python_of_the_readme_runs(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("pandas", "matplotlib"):
        pytest.importorskip(package)
    monkeypatch.chdir(example)
    for block in fenced(ROOT / "README.md", "python"):
        exec(compile(block, "README.md", "exec"), {})
    assert list((example / "pictures").glob("*.png"))


def test_the_loop_that_watches_its_training_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in fenced(ROOT / "docs" / "training.md", "python"):
        exec(compile(block, "training.md", "exec"), shown := {})
    state = shown["watching"].state
    assert state.measured[-1] == 20 and not state.failed  # step 10 may wait for a busy machine


def test_the_first_command_installs_what_the_readme_uses() -> None:
    rule = (ROOT / "Makefile").read_text(encoding="utf-8").split("$(VENV)/installed:")[1]
    assert '".[demo,plot,notebook,site]"' in rule.split("touch")[0]


def test_the_pages_show_commands_at_all() -> None:
    assert len(commands()) > 15


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_sweep_specs_shown_are_valid(page: Path) -> None:
    for block in fenced(page, "toml"):
        if "[[source]]" in block:
            parse_spec(block, folder=ROOT, name=page.name)


def test_every_command_says_what_it_does_and_is_on_a_page() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in cli._COMMANDS:
        module = importlib.import_module(f"jobs.commands.{name}")
        said = getattr(module, name).__doc__
        assert said and len(said.split()) > 4, name
        assert re.search(rf"\bzoo {name}\b", text), f"no page shows `zoo {name}`"
    assert "zoo hub serve" in text


def test_the_page_of_the_architecture_lists_every_file_once() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = text.split("<!-- tree -->")[1].split("<!-- /tree -->")[0]
    listed = [path for path in paths_of_tree(block) if path.startswith(PACKAGES)]
    wanted = [path for path in tracked_files() if not path.endswith("__init__.py")]
    assert sorted(listed) == sorted(wanted), "run python docs/make_architecture.py"


def test_the_generated_parts_of_the_architecture_are_current() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert script("make_architecture").rewritten(text) == text, (
        "run python docs/make_architecture.py"
    )


def test_every_room_says_what_it_is_for() -> None:
    inits = [name for name in tracked_packages() if Path(name).parent.name != "sql"]
    for name in inits:
        assert (ROOT / name).read_text(encoding="utf-8").startswith('"""'), f"{name} is silent"


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def tracked_packages() -> list[str]:
    """`__init__.py` of every folder of the packages."""
    return [name for name in tracked_files() if name.endswith("__init__.py")]


def paths_of_tree(block: str) -> list[str]:
    """Paths of the files of an indented tree, one a line: name, blanks, what it is."""
    parents: list[str] = []
    found: list[str] = []
    for line in block.splitlines():
        match = re.match(r"( *)([\w.]+/?)( +\S.*)?$", line)
        if match is None or line.startswith("```"):
            continue
        depth, name = len(match[1]) // 2, match[2]
        del parents[depth:]
        if name.endswith("/"):
            parents.append(name)
        else:
            assert match[3], f"{name}: the tree does not say what it is"
            found.append("".join(parents) + name)
    return found


def tracked_files() -> list[str]:
    """Python and SQL files of the packages that git knows; outside a clone those that are there."""
    told = subprocess.run(
        ["git", "ls-files", "--", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if told.returncode == 0 and told.stdout:
        names = told.stdout.splitlines()
    else:
        names = [str(p.relative_to(ROOT)) for top in PACKAGES for p in (ROOT / top).rglob("*")]
    return [name for name in names if name.endswith((".py", ".sql")) and (ROOT / name).exists()]


def test_the_page_of_the_spec_has_every_key_under_its_table() -> None:
    text = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `\[*(\w+)[^\n]*\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    tables = {"query": Query, **SPEC_TABLES}
    for name, model in tables.items():
        rows = re.findall(r"^\| (`[^|]*) \|", sections[name], re.MULTILINE)
        assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(model.model_fields), name


def test_the_catalogs_copy_of_the_measured_columns_is_current() -> None:
    kept = (ROOT / "catalog" / "schema" / "measured.py").read_text(encoding="utf-8")
    assert kept == script("make_schema").page(), "run python docs/make_schema.py"


def test_a_column_without_a_word_on_what_it_means_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"Dumb\.silent has no docstring; write what it"):
        list(script("make_schema").entries(Dumb))


@dataclass(frozen=True)
class Dumb(Group):
    """A group with a column that says nothing."""

    said: Annotated[float, ONE]
    """A number."""
    silent: Annotated[float, ONE]


def test_the_page_of_tables_is_current() -> None:
    made = script("make_tables").page()
    kept = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    assert kept == made, "run python docs/make_tables.py"


def test_the_columns_that_sql_knows_are_those_of_the_schema() -> None:
    made = script("make_tables").columns_sql()
    kept = (ROOT / "catalog" / "sql" / "05_columns.sql").read_text(encoding="utf-8")
    assert kept == made, "run python docs/make_tables.py"


def script(name: str) -> ModuleType:
    """docs/<name>.py, which is a script and no module of a package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_modules_named_on_the_pages_are_there() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:zoo|catalog|jobs|tests|benchmarks|docs)/[\w/]+\.\w+)`", text):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_of_the_architecture_names_every_module(package: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tops = {Path(name).parts[1] for name in tracked_files() if name.startswith(f"{package}/")}
    for top in tops - {"__init__.py", "sql"}:
        assert f"`{top.removesuffix('.py')}`" in text, f"{package}/{top} is not on the page"


def test_public_names_can_be_imported() -> None:
    zoo = importlib.import_module("zoo")
    if not hasattr(zoo, "__all__"):
        pytest.skip("zoo has no __all__")
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None


WEIGHTWATCHER = """
    model framework base_model log_level layers min_evals max_evals max_N min_size max_size ww2x randomize mp_fit detX
    ERG vectors fit fix_fingers max_fingers finger_thresh xmin_max xmax pl_package pool conv2d_norm conv2d_fft fft
    glorot_fix channels intra sparsify stacked deltas inverse svd_method tolerance start_ids peft plot savefig
    describe get_details get_summary get_ESD get_Weights get_framework_layer distances SVDSmoothing SVDSharpness
    analyze_vectors vector_metrics fit_powerlaw make_layer_iterator extract_pytorch_bins
    layer_id name D M N Q alpha alpha_weighted entropy has_esd layer_type log_alpha_norm log_norm
    log_spectral_norm longname matrix_rank norm num_evals num_pl_spikes rank_loss rf sigma spectral_norm stable_rank
    status sv_max sv_min warning weak_rank_loss xmin max_rand_eval rand_distance ww_softrank ww_maxdist
    rand_num_spikes num_traps rand_sigma_mp rand_mp_softrank rand_W_scale rand_bulk_max rand_bulk_min num_spikes
    sigma_mp mp_softrank W_scale bulk_max bulk_min detX_num num_ERG_spikes ERG_gap detX_val detX_val_unrescaled
    Lambda num_fingers raw_alpha slice_id Xflag bulk_mean_vec_entropy
""".split()
"""Options, methods and columns of WeightWatcher 0.7.7."""


def test_everything_of_weightwatcher_is_mapped() -> None:
    page = (ROOT / "docs" / "coming-from-weightwatcher.md").read_text(encoding="utf-8")
    mapped = " ".join(
        line.split("|")[1] for line in page.splitlines() if line.startswith("| ") and "`" in line
    )
    left = [name for name in WEIGHTWATCHER if not re.search(rf"\b{name}\b", mapped)]
    assert left == []
