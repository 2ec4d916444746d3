"""`zoo doctor`"""

from __future__ import annotations

from jobs.output import Format


def doctor(*, format: Format = "table", quiet: bool = False) -> int:
    """Versions, cores, memory, disk, devices and Ray of this machine.

    Parameters
    ----------
    format
        How to print.
    quiet
        Nothing but rows and errors.
    """
    import json
    import os
    import shutil

    import psutil
    import torch

    from jobs.ledger import versions
    from jobs.output import print_rows

    found: list[tuple[str, object, str]] = [
        (name, version, "") for name, version in json.loads(versions()).items()
    ]
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(os.getcwd())
    found += [
        ("cores", len(os.sched_getaffinity(0)), "one worker each by default"),
        ("memory_gib", round(memory.total / 2**30, 1), f"{memory.available / 2**30:.1f} available"),
        ("disk_gib", round(disk.total / 2**30, 1), f"{disk.free / 2**30:.1f} free here"),
        ("cuda", torch.cuda.is_available(), _devices()),
        ("hub_token", _has_token(), "HF_TOKEN in the environment; only its presence is told"),
        (
            "hub_endpoint",
            os.environ.get("HF_ENDPOINT", ""),
            "HF_ENDPOINT; empty: the client's default",
        ),
    ]
    rows = [{"what": what, "value": str(value), "note": note} for what, value, note in found]
    print_rows(rows, columns=("what", "value", "note"), format=format, quiet=quiet)
    return 0


def _devices() -> str:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return (
        ", ".join(torch.cuda.get_device_name(i) for i in range(count))
        or "spectra are computed on the CPU"
    )


def _has_token() -> bool:
    from zoo.hub.client import env_token

    return env_token() is not None
