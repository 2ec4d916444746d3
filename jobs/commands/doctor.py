"""`zoo doctor`"""

from __future__ import annotations

from jobs.screen.shown import AS_USUAL, Format, Shown


def doctor(*, format: Format = "table", shown: Shown = AS_USUAL, quiet: bool = False) -> int:
    """Versions, cores, memory, disk, devices and Ray of this machine; whether the Hub can be reached.

    Asks the Hub of HF_ENDPOINT twice, for a few seconds at most. A Hub out of reach is no failure.

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
    from concurrent.futures import ThreadPoolExecutor

    import psutil

    from jobs.screen.output import print_rows
    from jobs.units.versions import versions
    from zoo.machine.cuda import cuda_devices
    from zoo.machine.memory import process_limit

    pool = ThreadPoolExecutor(1)
    hub = pool.submit(_hub)  # it may take seconds to answer, while everything else is told
    facts: list[tuple[str, object, str]] = [
        (name, version, "") for name, version in json.loads(versions()).items()
    ]
    memory, limit = psutil.virtual_memory(), process_limit()
    devices, problem = cuda_devices()
    disk = shutil.disk_usage(os.getcwd())
    facts += [
        ("cores", len(os.sched_getaffinity(0)), "one worker each by default"),
        (
            "memory_gib",
            round(limit.nbytes / 2**30, 1),
            f"{memory.available / 2**30:.1f} available; set by {limit.set_by}",
        ),
        ("disk_gib", round(disk.total / 2**30, 1), f"{disk.free / 2**30:.1f} free here"),
        (
            "cuda",
            bool(devices),
            ", ".join(devices) or f"{problem}: spectra are computed on the CPU",
        ),
        *hub.result(),
    ]
    rows = [{"what": what, "value": str(value), "note": note} for what, value, note in facts]
    print_rows(rows, columns=("what", "value", "note"), format=format, quiet=quiet, shown=shown)
    return 0


def _hub() -> list[tuple[str, object, str]]:
    from zoo.hub.client import env_token
    from zoo.hub.health import ask_hub
    from zoo.hub.offline import cache_folder, is_offline

    health = ask_hub()
    took = "" if health.reached_s is None else f"answered in {health.reached_s:.2f} s"
    token = health.scope or (env_token() is not None)
    note = health.token_problem or ("scope of HF_TOKEN" if health.scope else "HF_TOKEN")
    return [
        ("hub_endpoint", health.endpoint, "HF_ENDPOINT, else the public Hub"),
        ("hub_reachable", health.reached_s is not None, health.problem or took),
        ("hub_token", token, f"{note}; the token itself is never shown"),
        (
            "hub_cache",
            cache_folder(),
            "read instead: HF_HUB_OFFLINE is set" if is_offline() else "read with HF_HUB_OFFLINE=1",
        ),
    ]
