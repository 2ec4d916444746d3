"""What a process that was started for the driver owes it: to end when the driver does.

A driver that is killed tells nobody; its workers, and the queues between them, would wait for ever.
"""

from __future__ import annotations

import multiprocessing
import os
import threading


def leave_with_driver() -> None:
    """From now on this process ends when the one that started it is gone, even amid a solve."""
    threading.Thread(target=_wait_and_leave, daemon=True).start()


def _wait_and_leave() -> None:
    driver = multiprocessing.parent_process()  # getppid() of a fork server's child is the server
    if driver is not None:
        driver.join()
        os._exit(1)
