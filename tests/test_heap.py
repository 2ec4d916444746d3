"""Memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import numpy as np
from zoo.machine.heap import return_large_arrays
assert return_large_arrays()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
for size in (5 << 20, 9 << 20, 17 << 20):  # each freed array would raise glibc's threshold beyond the next
    keep = [np.ones(size // 8) for _ in range(2)]
    guard = np.ones(4096)
    before = resident()
    del keep
    assert before - resident() > 1.9 * size, (size, before, resident())
"""


def test_freed_arrays_leave_the_process() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
