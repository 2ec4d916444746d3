"""The process beside a training, seen from the training: started, asked, listened to, ended.

Nothing here waits for it but the start and the end. It is found by its name (`jobs.sidecar.serve`), as
this package knows no catalog. Both talk in lines of JSON; a standard input that ends tells it that the
training is gone, however it went.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zoo.errors import UseError, ZooError

_SERVES: Final = "jobs.sidecar.serve"
"""The module that the process runs, by its function `serve`."""
_ROOT: Final = str(Path(__file__).resolve().parents[2])
"""Where the packages of this project lie."""
_CODE = (
    "import sys; sys.path[:] = {path!r}; sys.path.insert(0, {root!r}); import zoo, catalog, jobs; "
    "del sys.path[0]; from {module} import serve; serve()"
)
"""Our three packages first, then whatever the training imports: its own `jobs` is not ours."""
_START_S: Final = 120.0
"""Seconds that a process may take to open the catalog."""
_TAIL: Final = 500
"""Letters of its last words that are told, whole lines of them."""

Message = Mapping[str, Any]


class GoneError(ZooError):
    """The process beside the training ended by itself; the message has its last words."""

    cause = "infra"


class Beside:
    """One process beside the training."""

    def __init__(self, asked: Message, *, folder: Path, device: str, threads: int) -> None:
        """Start it and wait until it has opened the catalog. UseError when it cannot."""
        self._log = folder / "log.txt"
        self._unread = b""
        self.is_busy = False
        """True from a question until its answer."""
        environment = dict(os.environ)
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[variable] = str(threads)
        if device == "cpu":  # or it would take memory on the accelerator that trains
            environment["CUDA_VISIBLE_DEVICES"] = ""
        code = _CODE.format(path=[p for p in sys.path if p], root=_ROOT, module=_SERVES)
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the training
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to = self._process.stdin.fileno()
        self._from = self._process.stdout.fileno()
        try:
            self._send(asked)
            self.greeting = self._first_answer()
        except GoneError:
            self.kill()
            raise
        if self.greeting["is"] != "ready":
            self.kill()
            raise UseError(str(self.greeting["message"]))

    def measure(self, step: int, folder: Path) -> None:
        """Ask for the rows of what lies in `folder` now. Only while it is not busy. GoneError."""
        self._send({"do": "measure", "step": step, "folder": str(folder)})
        self.is_busy = True

    def answers(self, wait_s: float = 0.0) -> list[Message]:
        """What has come back; waits so long for a first one. GoneError when the process is no more."""
        until = time.monotonic() + wait_s
        said: list[Message] = []
        while not said:
            left = max(0.0, until - time.monotonic())
            ready, _, _ = select.select([self._from], [], [], left)
            if not ready:
                break
            data = os.read(self._from, 1 << 16)
            if not data:
                raise self._gone()
            *lines, self._unread = (self._unread + data).split(b"\n")
            said += [json.loads(line) for line in lines]
        if any(message["is"] in ("measured", "failed") for message in said):
            self.is_busy = False
        return said

    def end(self, timeout_s: float) -> bool:
        """Let it finish its books and wait; True when it ended by itself in time, else it is killed."""
        with contextlib.suppress(GoneError):
            self._send({"do": "end"})
        try:
            self._process.wait(timeout_s)
            return self._process.returncode == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once. What it was writing is whole in the catalog, or not there."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _send(self, message: Message) -> None:
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._to, data) :]
        except BrokenPipeError as error:
            raise self._gone() from error

    def _first_answer(self) -> Message:
        answers = self.answers(_START_S)
        if not answers:
            raise GoneError(f"the process beside the training did not start in {_START_S:g} s")
        return answers[0]

    def _gone(self) -> GoneError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        words = ""
        with contextlib.suppress(OSError):  # it may have removed the folder when it left
            lines = self._log.read_text(errors="replace").strip()[-_TAIL:].splitlines()
            words = "\n".join(lines[1:] or lines)
        code = self._process.returncode
        return GoneError(
            f"the process beside the training ended with code {code}: {words or 'it said nothing'}"
        )
