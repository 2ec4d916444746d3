"""From sources to pinned targets: ids, steps, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.sources.find import find_targets
from jobs.sources.target import Target
from jobs.spec.load import parse_spec
from jobs.spec.tables import Spec
from tests.models import weights, write_model
from zoo.errors import UseError


def spec(folder: Path, *sources: str) -> Spec:
    return parse_spec("".join(f"[[source]]\n{s}\n" for s in sources), folder=folder)


def targets(folder: Path, *sources: str) -> tuple[Target, ...]:
    return find_targets(spec(folder, *sources))


def ids(found: tuple[Target, ...]) -> list[str]:
    return [t.model_id for t in found]


@pytest.fixture
def zoo_folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write_model(tmp_path / "zoo" / name, weights(ord(name), (20, 10)))
    return tmp_path


def test_a_folder_with_weights_is_one_model(zoo_folder: Path) -> None:
    assert ids(targets(zoo_folder, "path = 'zoo/a'")) == ["local/a"]


def test_a_tree_of_folders_is_one_model_each(zoo_folder: Path) -> None:
    assert ids(targets(zoo_folder, "path = 'zoo'")) == ["local/a", "local/b"]


def test_a_file_is_a_model_named_after_its_stem(zoo_folder: Path) -> None:
    assert ids(targets(zoo_folder, "path = 'zoo/a/model.safetensors'")) == ["local/model"]


def test_a_name_replaces_local(zoo_folder: Path) -> None:
    assert ids(targets(zoo_folder, "path = 'zoo/a'\nname = 'lab'")) == ["lab/a"]


def test_steps_are_revisions_of_the_model_named_after_their_folder(tmp_path: Path) -> None:
    for step in (5, 10):
        write_model(tmp_path / "runs" / "mlp" / f"step{step}", weights(1, (20, 10)))
    found = targets(tmp_path, "path = 'runs/mlp/*'\nstep_pattern = 'step(\\d+)'")
    assert sorted((t.model_id, t.step or 0) for t in found) == [("local/mlp", 5), ("local/mlp", 10)]
    assert found[0].revision != found[1].revision  # equal bytes, two revisions all the same


def test_files_can_be_steps(tmp_path: Path) -> None:
    write_model(tmp_path / "mlp", weights(1, (20, 10)))
    (tmp_path / "mlp" / "model.safetensors").rename(tmp_path / "mlp" / "step7.safetensors")
    (found,) = targets(tmp_path, "path = 'mlp/*.safetensors'\nstep_pattern = 'step(\\d+)'")
    assert (found.model_id, found.step) == ("local/mlp", 7)


def test_a_step_pattern_that_finds_no_step_is_refused(zoo_folder: Path) -> None:
    with pytest.raises(UseError, match=r"source\[0\]\.step_pattern: .*in none of 2 paths"):
        targets(zoo_folder, "path = 'zoo/*'\nstep_pattern = 'epoch(\\d+)'")


def test_what_a_step_pattern_leaves_out_is_said(zoo_folder: Path) -> None:
    write_model(zoo_folder / "zoo" / "step3", weights(1, (20, 10)))
    said: list[str] = []
    source = spec(zoo_folder, "path = 'zoo/*'\nstep_pattern = 'step(\\d+)'")
    assert [t.step for t in find_targets(source, said.append)] == [3]
    assert said == ["source[0].step_pattern: left out 2 of 3 that name no step: a, b"]


def test_two_folders_of_the_same_name_are_refused(zoo_folder: Path) -> None:
    write_model(zoo_folder / "other" / "a", weights(9, (20, 10)))
    with pytest.raises(
        UseError, match=r"two sources give the id 'local/a'.*give one of them a `name`"
    ):
        targets(zoo_folder, "path = 'zoo/a'", "path = 'other/a'")


def test_the_same_folder_twice_is_one_target(zoo_folder: Path) -> None:
    assert ids(targets(zoo_folder, "path = 'zoo/a'", "path = 'zoo/a'")) == ["local/a"]


def test_a_path_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UseError, match=r"source\[0\]\.path: .*matches nothing"):
        targets(tmp_path, "path = 'nowhere/*'")


def test_an_empty_folder_is_a_target_that_fails_when_opened(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert ids(targets(tmp_path, "path = 'empty'")) == ["local/empty"]


def test_the_revision_follows_the_bytes_not_the_place(zoo_folder: Path) -> None:
    (before,) = targets(zoo_folder, "path = 'zoo/a'")
    (zoo_folder / "zoo").rename(zoo_folder / "moved")
    (after,) = targets(zoo_folder, "path = 'moved/a'")
    assert before.revision == after.revision


def test_a_url_may_be_a_glob_over_folders(zoo_folder: Path) -> None:
    found = targets(zoo_folder, f"path = 'file://{zoo_folder}/zoo/*'")
    assert ids(found) == ["local/a", "local/b"]
    assert all(t.failure is None and t.nbytes for t in found)


def test_a_url_may_be_one_file_with_the_settings_beside_it(zoo_folder: Path) -> None:
    (target,) = targets(zoo_folder, f"path = 'file://{zoo_folder}/zoo/a/model.safetensors'")
    assert (target.model_id, target.failure) == ("local/model", None)
    with target.reading() as store:
        assert set(store.files()) <= {"model.safetensors", "config.json", "README.md"}


def test_steps_are_found_in_urls_too(tmp_path: Path) -> None:
    for step in (1, 20):
        write_model(tmp_path / "run" / f"step{step}", weights(0, (20, 10)))
    found = targets(tmp_path, f"path = 'file://{tmp_path}/run/*'\nstep_pattern = 'step(\\d+)'")
    assert [(t.model_id, t.step) for t in found] == [("local/run", 1), ("local/run", 20)]
    assert len({t.revision for t in found}) == 2


def test_a_url_that_matches_nothing_is_refused_or_a_failure(tmp_path: Path) -> None:
    with pytest.raises(UseError, match="wanted a URL that matches"):
        targets(tmp_path, f"path = 'file://{tmp_path}/none*'")
    for path in ("none", "none.safetensors"):
        (target,) = targets(tmp_path, f"path = 'file://{tmp_path}/{path}'")
        assert target.failure is not None
