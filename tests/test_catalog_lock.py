"""One sweep of a name at a time; the lock dies with its holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from catalog.errors import LockedError, StorageError
from catalog.files.folder import Folder
from catalog.files.lock import compact_lock, sweep_lock, writing

_HOLD = """
import sys, time
from catalog.files.lock import sweep_lock
with sweep_lock(sys.argv[1], "nightly"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_sweep_of_a_name_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    root = str(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", _HOLD, root], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child, child.stdout:
        assert child.stdout.readline() == "held\n"
        expected = (
            rf"sweep 'nightly' already runs on .* \(process {child.pid} since 20.*wait for it"
        )
        with pytest.raises(LockedError, match=expected), sweep_lock(root, "nightly"):
            pass
        with sweep_lock(root, "another name"):
            pass
        child.kill()
    with sweep_lock(root, "nightly"):  # kill -9 released it
        pass


def test_a_lock_can_be_taken_again_after_it_was_released(tmp_path: Path) -> None:
    for _ in range(2):
        with sweep_lock(str(tmp_path), "n'a/../m\ne"):
            pass


def test_compaction_excludes_itself_but_not_a_sweep(tmp_path: Path) -> None:
    root = str(tmp_path)
    with compact_lock(root), sweep_lock(root, "nightly"):
        with pytest.raises(LockedError, match="zoo compact already runs"), compact_lock(root):
            pass


def test_writers_share_the_folder(tmp_path: Path) -> None:
    folder = Folder.parse(str(tmp_path))
    with writing(folder, alone=False), writing(folder, alone=False):
        pass
    with writing(folder, alone=True):
        pass


def test_a_folder_that_is_a_file_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(StorageError, match="give a folder"), sweep_lock(str(tmp_path / "f"), "n"):
        pass
