"""A matrix that is larger than the memory there is: named beforehand by the plan, and by the failure."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Zoo
from tests.models import weights, write_model
from zoo.machine import memory
from zoo.machine.memory import is_shortage, machine_limit, process_limit

SIDE = 28_000
"""3.1 GB in float32; as a sparse file it takes no room on the disk."""
NEEDS = 3 * 4 * SIDE**2 + 2**30


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A spec of a small model and one with a large matrix."""
    write_model(tmp_path / "zoo" / "small", weights(0, (40, 30)))
    nbytes = 4 * SIDE**2
    entry = {"dtype": "F32", "shape": [SIDE, SIDE], "data_offsets": [0, nbytes]}
    header = json.dumps({"layers.0.weight": entry}).encode()
    (tmp_path / "zoo" / "large").mkdir()
    with open(tmp_path / "zoo" / "large" / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + nbytes)
    (tmp_path / "spec.toml").write_text('[[source]]\npath = "zoo/*"\n')
    return tmp_path / "spec.toml"


def limited(kilobytes: int, command: str) -> subprocess.CompletedProcess[str]:
    """A command of ours, each process of which may take so much memory."""
    line = f"ulimit -v {kilobytes}; exec {sys.executable} -m jobs {command}"
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True)


def test_a_plan_names_the_memory_that_each_model_takes(
    spec: Path, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    assert zoo("plan", spec, "--format", "json") == 0
    printed = capsys.readouterr()
    peaks = {row["model"]: row["peak_bytes"] for row in json.loads(printed.out)}
    assert peaks == {"local/large": NEEDS, "local/small": 3 * 4 * 1200 + 2**30}
    assert "takes up to 10.48 GB of memory (layers.0.weight of local/large)" in printed.err


def test_what_will_not_fit_is_named_by_the_plan_and_by_the_failure(spec: Path) -> None:
    planned = limited(4_000_000, f"plan {spec} --format csv")
    assert "layers.0.weight takes up to 10.48 GB of memory, there are 4.10 GB" in planned.stdout
    swept = limited(4_000_000, f"sweep {spec} --out {spec.parent / 'cat'} -j 1")
    assert swept.returncode == 1 and "1 done" in swept.stderr, swept.stderr
    assert (
        "local/large: failed (resource): not enough memory for 'layers.0.weight' (28000 x 28000, "
        "3.14 GB in float32): measuring it takes up to 10.48 GB (three times that and 1.1 GB); this "
        "process may take 4.10 GB (ulimit -v). Give it more"
    ) in swept.stderr
    assert "exclude = ['layers.0.weight']" in swept.stderr and "allocate" not in swept.stderr


@pytest.mark.parametrize(
    ("where", "name"),
    [("0::/a/b", "a/memory.max"), ("4:memory:/a/b", "memory/a/b/memory.limit_in_bytes")],
    ids=["v2-of-a-parent", "v1"],
)
def test_the_limit_of_a_container_is_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, name: str
) -> None:
    (tmp_path / "cgroup").write_text(f"{where}\n")
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("123456789\n")
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "cgroup")
    assert machine_limit().nbytes == 123456789 == process_limit().nbytes
    assert "cgroup" in machine_limit().set_by


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("sizes of tensors must match"), False),
        (ValueError("can't allocate memory"), False),
    ],
    ids=["numpy", "torch", "other-of-torch", "other"],
)
def test_a_shortage_is_told_from_other_errors(error: Exception, is_one: bool) -> None:
    assert is_shortage(error) is is_one
