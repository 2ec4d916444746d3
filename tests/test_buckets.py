"""Catalogs in a bucket: leases, and sweeps and compactions at once, against moto's S3 on loopback."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from catalog.care import claims
from catalog.care.compact import compact
from catalog.errors import LeaseLostError, LockedError
from catalog.files import lease as lease_module
from catalog.files.folder import Folder
from catalog.files.lease import fence, holder_of, lease
from catalog.files.lock import compact_lock, compaction, sweep_lock
from catalog.read.lacking import lacking
from catalog.write.finished import finished_units
from tests.buckets import new_bucket, s3_server
from tests.catalogs import ROOT, commit

_HOLD = """
import sys, time
from catalog.files import lease
lease.BEAT_S = float(sys.argv[2])
if sys.argv[3] == "elsewhere":
    lease._place = lambda: "another machine"
from catalog.files.lock import sweep_lock
from tests.catalogs import commit
with sweep_lock(sys.argv[1], "nightly"):
    commit(sys.argv[1], "org/a")
    print("held", flush=True)
    sys.stdin.readline()
    commit(sys.argv[1], "org/late")
"""


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture
def root() -> str:
    return new_bucket()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that die within seconds; the server's clock counts whole ones."""
    monkeypatch.setattr(lease_module, "BEAT_S", 0.1)
    monkeypatch.setattr(lease_module, "DEAD_S", 2.0)


def holder_in_a_child(root: str, *, place: str, beat_s: float = 0.2) -> subprocess.Popen[str]:
    """A process that holds the lease of the sweep `nightly`, and has committed a unit."""
    child = subprocess.Popen([sys.executable, "-c", _HOLD, root, str(beat_s), place], cwd=ROOT, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    return child


def models(root: str) -> list[str]:
    """The models that are shown; each has the rows that its commit names, once."""
    assert lacking(root) == ()
    return sorted(unit.key.model_id for unit in finished_units(root))


def test_of_all_who_create_a_file_at_once_one_succeeds(root: str) -> None:
    folder = Folder.parse(root)
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda i=i: won.append(folder.create(b"%d" % i, "x")))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert folder.creates_once()


def test_a_killed_holder_on_this_machine_is_taken_over_from_at_once(root: str) -> None:
    child = holder_in_a_child(root, place="here")
    with child:
        expected = (
            rf"sweep 'nightly' already runs on s3://.*process {child.pid} .* since 20.*wait for it"
        )
        with pytest.raises(LockedError, match=expected), sweep_lock(root, "nightly"):
            pass
        with pytest.raises(LockedError, match="a sweep runs on s3://"), compaction(root):
            pass
        child.kill()
    with sweep_lock(root, "nightly"), sweep_lock(root, "another"):
        commit(root, "org/b")
    assert models(root) == ["org/a", "org/b"]


@pytest.mark.usefixtures("hasty")
def test_a_holder_elsewhere_is_told_by_its_heartbeat_and_waited_for_when_it_has_none(
    root: str,
) -> None:
    with holder_in_a_child(root, place="elsewhere") as child:
        with pytest.raises(LockedError, match="already runs"), sweep_lock(root, "nightly"):
            pass
        child.kill()
        child.wait()
        began = time.monotonic()
        with sweep_lock(root, "nightly"):
            assert time.monotonic() - began > 1  # its death could only be told by its silence


@pytest.mark.usefixtures("hasty")
def test_a_holder_that_slept_and_woke_up_commits_nothing_more(root: str) -> None:
    with holder_in_a_child(root, place="elsewhere") as child:
        child.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        with compaction(root):  # puts a higher token above that of the sleeper
            pass
        child.send_signal(signal.SIGCONT)
        time.sleep(0.5)  # a heartbeat
        _, said = child.communicate("\n", timeout=30)
    assert child.returncode == 1 and "LeaseLostError" in said and "was taken over" in said
    assert models(root) == ["org/a"]


def test_a_lost_lease_stops_its_holder_before_the_next_deletion(root: str) -> None:
    folder = Folder.parse(root)
    commit(root, "org/a")
    with lease(folder, "compact", "zoo compact", deletes=True):
        held = holder_of(folder, "compact")
        assert held is not None and held.deletes
        above = lease_module._path(folder, "compact", held.token + 1)
        assert folder.create(held.to_bytes(), *above)
        fence(folder)  # the last heartbeat is young: not asked
        with pytest.raises(LeaseLostError):
            fence(folder, surely=True)


def test_a_sweep_waits_for_a_compaction_but_not_for_a_refit(root: str) -> None:
    said: list[str] = []
    with compact_lock(root), sweep_lock(root, "n", say=said.append):
        assert said == []
    ended = threading.Event()

    def hold() -> None:
        with lease(Folder.parse(root), "compact", "zoo compact", deletes=True):
            started.set()
            while not said:
                time.sleep(0.01)
            ended.set()

    started = threading.Event()
    other = threading.Thread(target=hold)
    other.start()
    assert started.wait(30)
    with sweep_lock(root, "n", say=said.append):
        assert ended.is_set()
    other.join()
    assert len(said) == 1 and said[0].startswith("waiting for zoo compact on s3://")


def test_a_compaction_that_may_wake_up_is_made_harmless() -> None:
    root = "memory://asleep"
    folder = Folder.parse(root)
    commit(root, "org/a")
    compact(root, grace_s=0, target_bytes=1)  # g000001 is large enough to be left alone
    commit(root, "org/b")
    number, is_alone = claims.claim(folder, 2)  # another run, that sleeps from here on
    assert (number, is_alone) == (2, True)
    compact(root, grace_s=0, target_bytes=1)
    assert folder.names("models", "g000001") == () and folder.names("models", "g000003") != ()
    assert models(root) == ["org/a", "org/b"]
    assert claims.claim(folder, 1)[0] == 4


def test_two_sweeps_at_once_on_one_bucket_lose_and_double_nothing(root: str) -> None:
    names = [f"org/m{number}" for number in range(2)]

    def run(sweep_id: str) -> None:
        with sweep_lock(root, sweep_id):
            for name in names:
                commit(root, name, sweep_id=sweep_id, layers=[{}, {}])

    sweeps = [threading.Thread(target=run, args=(sweep_id,)) for sweep_id in ("s1", "s2")]
    for thread in sweeps:
        thread.start()
    for thread in sweeps:
        thread.join()
    assert models(root) == names
    compact(root, grace_s=0)
    assert models(root) == names
    folder = Folder.parse(root)
    assert folder.names("_tmp") == () and folder.names("models", "hot") == ()
    assert set(folder.folders("_tmp")) == {"leases", "generations"}


def test_a_bucket_that_passes_over_the_condition_is_compacted_only_on_ones_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = "memory://uncondition"
    commit(root, "org/a")
    folder = Folder.parse(root)
    assert folder.remote is not None
    pipe = folder.remote.pipe_file
    monkeypatch.setattr(folder.remote, "pipe_file", lambda path, data, mode="": pipe(path, data))
    with sweep_lock(root, "n"), sweep_lock(root, "n"):  # no locks, as documented
        with pytest.raises(LockedError, match=r"cannot create a file once only.*--alone"):
            compact(root, grace_s=0)
    compact(root, grace_s=0, alone=True)
    assert models(root) == ["org/a"]
