"""Local models that change between their listing and their turn, in sweeps by real processes.

The catalog never holds numbers under a fingerprint of other bytes, and the same sweep again has nothing
to do.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jobs.sources.bases import listed_again
from jobs.sources.find import find_targets
from jobs.sources.target import Target
from jobs.spec.load import parse_spec
from tests.conftest import Zoo
from tests.models import weights, write_model
from tests.test_sweep import ask
from zoo.errors import StaleListingError
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.io.store import reading

SPEC = '[sweep]\nname = "test"\n[[source]]\npath = "zoo/*"\n'
Start = Callable[..., subprocess.Popen[str]]


def small(seed: int) -> dict[str, np.ndarray]:
    return dict(weights(seed, (40, 20)))


def write_in_place(file: Path, seed: int) -> None:
    """Other numbers of the same shape into the same inode, with the old time put back."""
    before = file.stat()
    other = file.with_name("other")
    save_file(small(seed), other)
    with file.open("r+b") as written:
        written.write(other.read_bytes())
    other.unlink()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    same = ("st_size", "st_mtime_ns", "st_ino")
    assert [getattr(before, n) for n in same] == [getattr(after, n) for n in same]


def targets(folder: Path) -> dict[str, Target]:
    found = find_targets(parse_spec(SPEC, folder=folder))
    return {target.model_id.removeprefix("local/"): target for target in found}


def norms(catalog: Path) -> dict[tuple[object, object], object]:
    query = "select model_id, revision, frobenius_norm_sq from layers"
    return {(model, revision): norm for model, revision, norm in ask(catalog, query)}


# Sweeps


CHANGED = ("replaced", "in-place", "grown", "shrunk")


@pytest.fixture
def zoo_folder(tmp_path: Path) -> Path:
    """A slow model, which goes first, and small ones; the spec beside them."""
    write_model(tmp_path / "zoo" / "a-slow", weights(0, (1600, 1600), (1600, 1600)))
    for name in (*CHANGED, "touched", "still", "gone", "broken"):
        write_model(tmp_path / "zoo" / name, small(1))
    save_file(small(3), tmp_path / "zoo" / "shrunk" / "second.safetensors")
    (tmp_path / "spec.toml").write_text(SPEC)
    return tmp_path


def change_all(zoo: Path) -> None:
    """Each small model in its own way, while the slow one is measured."""
    save_file(small(2), zoo / "replaced" / "new")
    os.replace(zoo / "replaced" / "new", zoo / "replaced" / "model.safetensors")
    write_in_place(zoo / "in-place" / "model.safetensors", seed=2)
    (zoo / "grown" / "README.md").write_text("---\nlicense: mit\n---\n")
    (zoo / "shrunk" / "second.safetensors").unlink()
    (zoo / "touched" / "model.safetensors").touch()
    (zoo / "gone").rename(zoo.parent / "elsewhere")
    (zoo / "broken" / "model.safetensors").write_bytes(b"half a file")


def sweep_while(start: Start, folder: Path, change: Callable[[Path], None]) -> tuple[int, str]:
    """The exit code and words of a sweep during which `change` happens, once all is listed."""
    process = start("sweep", folder / "spec.toml", "--out", folder / "cat", "-j", 1)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "units listed" in first, first
    change(folder / "zoo")
    _, said = process.communicate(timeout=300)
    return process.returncode, first + said


def test_numbers_are_filed_under_the_fingerprint_of_the_bytes_measured(
    zoo_folder: Path, zoo_process: Start, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = sweep_while(zoo_process, zoo_folder, change_all)
    cat, now = zoo_folder / "cat", targets(zoo_folder)
    assert code == 1 and "Traceback" not in said
    for name in CHANGED:
        assert f"local/{name}: changed since it was listed; listed again as" in said
    measured = dict(ask(cat, "select model_id, revision from models"))
    whole = {n: t for n, t in now.items() if n not in ("gone", "broken")}
    assert measured == {f"local/{name}": target.revision for name, target in whole.items()}
    failures = ask(cat, "select model_id, cause, revision from failures order by 1")
    assert [(model, cause) for model, cause, _ in failures] == [
        ("local/broken", "data"),
        ("local/gone", "data"),
    ]
    assert failures[0][2] == now["broken"].revision  # not that of the file that was whole

    assert zoo("sweep", zoo_folder / "spec.toml", "--out", zoo_folder / "fresh", "-j", 1) == 1
    assert norms(cat) == norms(zoo_folder / "fresh")
    capsys.readouterr()
    zoo("sweep", zoo_folder / "spec.toml", "--out", cat, "-j", 1)
    assert "nothing to compute" in capsys.readouterr().err
    assert ask(cat, "select count(*) from missing where cause is null") == [(0,)]


def test_a_model_that_is_written_all_the_time_is_a_failure_and_no_numbers(
    tmp_path: Path, zoo: Zoo
) -> None:
    write_model(tmp_path / "zoo" / "good", small(0))
    busy = write_model(tmp_path / "zoo" / "busy", small(1)) / "model.safetensors"
    (tmp_path / "spec.toml").write_text(SPEC)
    done = threading.Event()

    def write() -> None:
        seed = 0
        while not done.wait(0.02):
            seed += 1
            write_in_place(busy, seed)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        code = zoo("sweep", tmp_path / "spec.toml", "--out", tmp_path / "cat", "-j", 1)
    finally:
        done.set()
        writer.join()
    assert code == 1
    assert ask(tmp_path / "cat", "select model_id from models") == [("local/good",)]
    query = "select model_id, cause from failures_open"
    assert ask(tmp_path / "cat", query) == [("local/busy", "changed")]
    # what is finished by then is measured the next time, without being told to
    assert zoo("sweep", tmp_path / "spec.toml", "--out", tmp_path / "cat", "-j", 1) == 0
    assert ask(tmp_path / "cat", "select count(*) from models") == [(2,)]


# Stores


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "zoo" / "model", small(1))


def pinned(model: Path) -> LocalLocation:
    location = targets(model.parents[1])["model"].location
    assert isinstance(location, LocalLocation)
    return location


def settled(location: LocalLocation) -> LocalLocation:
    """As if the files had been written long before they were listed: their stamps prove their bytes."""
    assert location.listed is not None
    listed = tuple(replace(file, is_settled=True) for file in location.listed)
    return replace(location, listed=listed)


def read_all(location: LocalLocation) -> None:
    with reading(location) as store:
        checkpoint = open_checkpoint(store)
        for name in checkpoint.tensors:
            checkpoint.read(name)


def test_a_folder_that_stays_as_it_is_is_read(model: Path) -> None:
    read_all(pinned(model))
    read_all(settled(pinned(model)))


@pytest.mark.parametrize("of", [pinned, settled])
def test_an_edit_in_place_with_its_time_put_back_is_seen(
    model: Path, of: Callable[[Path | LocalLocation], LocalLocation]
) -> None:
    location = settled(pinned(model)) if of is settled else pinned(model)
    write_in_place(model / "model.safetensors", seed=2)
    with pytest.raises(StaleListingError, match="changed since it was listed"):
        read_all(location)


def test_an_edit_within_a_tick_of_the_clock_is_seen_by_its_bytes(model: Path) -> None:
    """The stamp is that of today, as if the clock had not moved; only the digest is of before."""
    location = pinned(model)
    write_in_place(model / "model.safetensors", seed=2)
    now = pinned(model)
    assert location.listed is not None and now.listed is not None
    listed = tuple(
        replace(then, stamp=after.stamp, is_settled=False)
        for then, after in zip(location.listed, now.listed, strict=True)
    )
    with pytest.raises(StaleListingError, match=r"model\.safetensors"):
        read_all(replace(location, listed=listed))


def test_what_was_only_touched_or_copied_is_read(model: Path) -> None:
    location = settled(pinned(model))
    (model / "model.safetensors").touch()
    copy = model / "copy"
    copy.write_bytes((model / "config.json").read_bytes())
    copy.replace(model / "config.json")
    read_all(location)


def test_an_edit_while_it_is_read_is_seen(model: Path) -> None:
    with (
        pytest.raises(StaleListingError),
        reading(settled(pinned(model))) as store,
        open_checkpoint(store) as checkpoint,
    ):
        (name,) = checkpoint.tensors
        checkpoint.read(name)
        write_in_place(model / "model.safetensors", seed=2)


def test_a_bucket_whose_files_changed_is_listed_again(tmp_path: Path) -> None:
    model = write_model(tmp_path / "zoo" / "model", small(1))
    spec = f"[[source]]\npath = 'file://{tmp_path}/zoo/*'\n"
    (target,) = find_targets(parse_spec(spec, folder=tmp_path))
    with target.reading() as store:
        assert len(open_checkpoint(store).tensors) == 1
    write_in_place(model / "model.safetensors", seed=2)
    with pytest.raises(StaleListingError, match="changed since it was listed"):
        with target.reading() as store:
            open_checkpoint(store)
    again = listed_again(target)
    assert again.revision != target.revision
    with again.reading() as store:
        assert len(open_checkpoint(store).tensors) == 1


def test_an_adapter_is_listed_again_with_its_base(tmp_path: Path) -> None:
    from tests.test_sources import put_adapter, put_base

    put_adapter(tmp_path / "adapter", base="lab/base")
    put_base(tmp_path / "base")
    spec = (
        "[[source]]\npath = 'adapter'\n[[source]]\npath = 'base'\nname = 'lab'\n"
        "[layers]\nadapters = 'merged'\n"
    )
    adapter, _ = find_targets(parse_spec(spec, folder=tmp_path))
    stored = load_file(tmp_path / "base" / "model.safetensors")
    other = {name: tensor + 1 for name, tensor in stored.items()}
    save_file(other, tmp_path / "base" / "model.safetensors")
    with pytest.raises(StaleListingError), adapter.reading() as store:
        open_checkpoint(store)
    again, base = listed_again(adapter), targets_of(tmp_path, spec)[1]
    assert (again.revision, again.base_revision) == (adapter.revision, base.revision)
    assert again.nbytes == adapter.nbytes
    with again.reading() as store:
        open_checkpoint(store)


def targets_of(folder: Path, spec: str) -> tuple[Target, ...]:
    return find_targets(parse_spec(spec, folder=folder))
