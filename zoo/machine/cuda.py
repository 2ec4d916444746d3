"""Which CUDA devices a program could use, told by the driver: torch need not be loaded, which takes seconds.

For people who ask; what a measurement runs on is decided by `device`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from pathlib import Path

_DRIVER = "libcuda.so.1"
"""The driver's own library; it comes with the driver and with nothing else."""
_NAME_BYTES = 256
"""Longest name of a device."""


def cuda_devices() -> tuple[tuple[str, ...], str]:
    """Names of the devices that torch could compute on; where there are none, why."""
    if _torch_cuda() is None:
        return (), "this torch is built without CUDA"
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return (), f"no driver here ({_DRIVER})"
    count = ctypes.c_int()
    error = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if error:
        return (), f"the driver answers with error {error}"
    names = tuple(filter(None, (_name(driver, number) for number in range(count.value))))
    return names, "" if names else "the driver sees no device"


def _name(driver: ctypes.CDLL, number: int) -> str:
    device, text = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    if driver.cuDeviceGet(ctypes.byref(device), number):
        return ""
    if driver.cuDeviceGetName(text, _NAME_BYTES, device):
        return ""
    return text.value.decode(errors="replace")


def _torch_cuda() -> str | None:
    """The CUDA version that torch was built for, as its file of versions says; None: without."""
    spec = importlib.util.find_spec("torch")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        text = (Path(folder) / "version.py").read_text(encoding="utf-8")
        built = re.search(r"^cuda\b[^=\n]*=\s*'([^']+)'", text, re.MULTILINE)
        return built[1] if built else None
    return None
