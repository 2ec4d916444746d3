"""Watches a training of any kind: when weights are copied out, what becomes of the answers, how it ends.

Never waits for a measurement while the training runs, unless asked to: a step whose turn comes while the
one before is still being measured is skipped, counted and said. Knows no framework and no catalog.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, Final

import torch

from zoo.callbacks.beside import Beside, GoneError
from zoo.callbacks.loggers import Log, loggers_of
from zoo.callbacks.scratch import Scratch
from zoo.callbacks.snapshot import Snapshot, unwrapped, weights_of
from zoo.callbacks.state import TrapOnsetWarning, WatchState
from zoo.errors import ResourceError, UseError
from zoo.options import AnalysisOptions, LayerSelection

_LOG: Final = logging.getLogger("zoo.callbacks")
_MOST_STARTS: Final = 3
"""How often the process beside the training is started before it is given up."""
_AT_EXIT_S: Final = 60.0
"""Seconds that a program which ends without `close` waits for the measurement under way."""
_TURN_S: Final = 30.0
"""Seconds between two words on what is being waited for."""


class Watch:
    """One training that is watched; made by `watch`, or by a framework's callback. `state` tells all."""

    def __init__(
        self,
        model: torch.nn.Module,
        catalog: str | os.PathLike[str],
        *,
        every: int,
        model_id: str,
        config: Mapping[str, object] | None = None,
        options: AnalysisOptions | None = None,
        selection: LayerSelection | None = None,
        on_onset: Callable[[int, Mapping[str, int]], None] | None = None,
        loggers: Iterable[str | Log] = (),
        wait: bool = False,
        max_share: float = 0.02,
        threads: int = 1,
        device: str = "cpu",
        idle_only: bool = True,
        scratch: str | os.PathLike[str] | None = None,
    ) -> None:
        """See `watch`."""
        if not isinstance(every, int) or every < 1:
            raise UseError(f"every: got {every!r}; wanted a number of steps, 1 or more")
        if not model_id or not model_id.strip():
            raise UseError(
                f"model_id: got {model_id!r}; wanted a name in the catalog, such as 'local/run'"
            )
        if not 0.0 < max_share <= 1.0:
            raise UseError(f"max_share: got {max_share!r}; wanted a share of the time in (0, 1]")
        self.state = WatchState()
        self.model_id = model_id
        self.catalog = os.fspath(catalog)
        self.every = every
        self._model = model
        self._config = _config_of(model) if config is None else config
        self._on_onset = on_onset
        self._wait = wait
        self._max_share = max_share
        self._process = os.getpid()
        self._beside: Beside | None = None
        self._is_open = _is_first()
        self._asked_for: int | None = None
        """The newest step that was copied out."""
        self._told: int | None = None
        """The newest step that the training told of."""
        self._copy_s = 0.0
        """What the newest copy took."""
        self._num_starts = 0
        if not self._is_open:
            return
        self._loggers = loggers_of(loggers)
        self._machine = {"device": device, "threads": threads}
        num_bytes = sum(t.numel() * t.element_size() for *_, t in weights_of(model))
        self._scratch = Scratch(num_bytes, scratch)
        self._snapshot = Snapshot(self._scratch.folder / "model")
        self._asked = {
            "catalog": self.catalog,
            "model_id": model_id,
            "options": asdict(options or AnalysisOptions()),
            "selection": asdict(selection or LayerSelection()),
            "idle_only": idle_only,
            "scratch": str(self._scratch.folder),
            **self._machine,
        }
        try:
            self._beside = self._start()
        except BaseException:
            self._scratch.remove()
            raise
        self._known = frozenset(map(int, self._beside.greeting["steps"]))
        """Steps of this model that the catalog had before."""
        self._began = time.perf_counter()
        atexit.register(self._leave)

    def __call__(self, step: int) -> None:
        """Say that optimizer step `step` is done. Costs microseconds, and a copy of the weights when
        `step` is a multiple of `every`."""
        if not self._is_mine:
            return
        self._told = step
        started = time.perf_counter()
        try:
            self._listen(0.0)
            if step % self.every == 0 and step != self._asked_for:
                self._take(step, is_needed=False)
        finally:
            self.state.seconds += time.perf_counter() - started

    def measure(self, step: int) -> None:
        """Copy out the weights of `step` for certain: waits for the measurement under way."""
        if self._is_mine and step != self._asked_for:
            self._take(step, is_needed=True)

    def close(self, step: int | None = None, *, timeout_s: float | None = None) -> WatchState:
        """End it: measure the last step (`step`, or the last one told) if it was not, and wait for the answer.

        After `timeout_s` (None: however long it takes) the process is killed, which is said; rows are whole or
        not there. Calling twice is harmless.
        """
        last = self._told if step is None else step
        return self._close(last, timeout_s)

    def abandon(self) -> WatchState:
        """End it after an error of the training: what is being measured may come to its end, a minute long."""
        return self._close(None, _AT_EXIT_S)

    def _close(self, last: int | None, timeout_s: float | None) -> WatchState:
        if not self._is_mine:
            return self.state
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            if last is not None and last != self._asked_for:
                self._take(last, is_needed=True, until=until)
            self._settle(until)
        finally:
            self._end()
        self._say_end()
        return self.state

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abandon()

    @property
    def _is_mine(self) -> bool:
        """False once closed, on ranks other than the first, and in forks of the training (loaders of data)."""
        return self._is_open and self.state.stopped is None and os.getpid() == self._process

    def _start(self) -> Beside:
        self._num_starts += 1
        return Beside(self._asked, folder=self._scratch.folder, **self._machine)  # type: ignore[arg-type]

    def _take(self, step: int, *, is_needed: bool, until: float | None = None) -> None:
        """Copy out the weights and have them measured, or count why not."""
        if self._beside is None and not self._started_again():
            return
        assert self._beside is not None
        if self._beside.is_busy:
            if not is_needed and not self._wait:
                self._skip(self.state.skipped_busy, step, "the one before is still being measured")
                return
            self._settle(until)
            if self._beside is None or self._beside.is_busy:
                self.state.failed[step] = "not measured: what was measured before did not end"
                return
        is_first = self._asked_for is None
        elapsed = time.perf_counter() - self._began
        if not (is_needed or is_first or self._wait) and (
            self.state.seconds + self._copy_s > self._max_share * elapsed
        ):
            words = f"copying would take the training more than {self._max_share:.0%} of its time"
            self._skip(self.state.skipped_cost, step, words)
            return
        if is_first:
            self._say_known(step)
        started = time.perf_counter()
        try:
            self._snapshot.write(self._model, self._config)
            self._copy_s = time.perf_counter() - started
            self._beside.measure(step, self._snapshot.folder)
        except ResourceError as error:
            self._fail(step, str(error))
        except GoneError as error:
            self._lost(step, error)
        else:
            self._asked_for = step

    def _listen(self, wait_s: float) -> None:
        """Take in what has come back."""
        if self._beside is None or not self._beside.is_busy:
            return
        try:
            answers = self._beside.answers(wait_s)
        except GoneError as error:
            self._lost(self._asked_for, error)
            return
        for answer in answers:
            if answer["is"] == "measured":
                self._measured(answer)
            elif answer["is"] == "failed":
                self._fail(int(answer["step"]), str(answer["message"]))

    def _settle(self, until: float | None) -> None:
        """Wait for the answer that is due, if one is."""
        last_said = time.monotonic()
        while self._beside is not None and self._beside.is_busy:
            now = time.monotonic()
            if until is not None and now >= until:
                return
            if now - last_said >= _TURN_S:
                _LOG.info("%s: waiting for step %s to be measured", self.model_id, self._asked_for)
                last_said = now
            self._listen(_TURN_S if until is None else min(_TURN_S, until - now))

    def _measured(self, answer: Mapping[str, Any]) -> None:
        step = int(answer["step"])
        self.state.measured.append(step)
        self.state.last, self.state.last_step = answer["numbers"], step
        self.state.measuring_seconds = float(answer["seconds"])
        for log in self._loggers:
            log(step, self.state.last)
        onset = {name: int(at) for name, at in answer["onset"].items()}
        if not onset:
            return
        self.state.onset.update(onset)
        if self._on_onset is not None:
            self._on_onset(step, onset)
        warnings.warn(self._words_on(step, onset), TrapOnsetWarning, stacklevel=_callers_level())

    def _words_on(self, step: int, onset: Mapping[str, int]) -> str:
        some = ", ".join(f"{name} (step {at})" for name, at in list(onset.items())[:3])
        more = f" and {len(onset) - 3} more" if len(onset) > 3 else ""
        layers = "1 layer" if len(onset) == 1 else f"{len(onset)} layers"
        return (
            f"{self.model_id}: Correlation Traps began in {layers} and were still there at step {step}: "
            f"{some}{more}. Traps are a sign of over-fitting: compare with the validation loss; "
            f"`zoo show {self.catalog} {self.model_id} --plot DIR` draws the run"
        )

    def _skip(self, skipped: list[int], step: int, why: str) -> None:
        """Count a step that is left out; said at the first, second, fourth, eighth ..."""
        skipped.append(step)
        count = len(skipped)
        if count & (count - 1) == 0:
            _LOG.warning(
                "%s: step %d is not measured, as %s; %d so far", self.model_id, step, why, count
            )

    def _fail(self, step: int, why: str) -> None:
        self.state.failed[step] = why
        _LOG.warning("%s: step %d could not be measured: %s", self.model_id, step, why)

    def _lost(self, step: int | None, error: GoneError) -> None:
        """The process is gone, and with it the step that it measured, if any."""
        if self._beside is not None:
            self._beside.kill()
            self._beside = None
        if step is not None:
            self._fail(step, str(error))

    def _started_again(self) -> bool:
        """Start the process anew after it died, unless it did so too often."""
        try:
            if self._num_starts < _MOST_STARTS:
                self._beside = self._start()
                return True
            why = f"the process beside the training died {self._num_starts} times"
        except (GoneError, UseError) as error:
            why = str(error)
        self.state.stopped = why
        _LOG.warning("%s: nothing is measured any more: %s", self.model_id, why)
        self._release()
        return False

    def _say_known(self, step: int) -> None:
        """A word on steps that the catalog has of this model already."""
        later = [known for known in self._known if known > step]
        if not later:
            return
        if step > 0:
            _LOG.info(
                "%s goes on at step %d; %d later steps of its earlier life are in the catalog, and are "
                "replaced as they come", self.model_id, step, len(later),
            )  # fmt: skip
            return
        _LOG.warning(
            "%s: the catalog has %d steps of an earlier training of that name, up to %d; steps that are not "
            "measured again stay. Give another model_id to keep the two apart",
            self.model_id, len(later), max(later),
        )  # fmt: skip

    def _say_end(self) -> None:
        state = self.state
        numbers = (len(state.measured), len(state.skipped_busy), len(state.skipped_cost))
        hint = "; a larger every= skips fewer" if state.skipped_busy else ""
        _LOG.log(
            logging.WARNING if state.failed else logging.INFO,
            "%s: %d steps measured, %d skipped while one was measured, %d for their cost, %d failed; "
            "%.2f s of the training's time%s", self.model_id, *numbers, len(state.failed), state.seconds, hint,
        )  # fmt: skip

    def _end(self) -> None:
        beside, self._beside = self._beside, None
        if beside is not None and beside.is_busy:  # it was waited for long enough
            beside.kill()
            self._fail(self._asked_for or 0, "killed: the time to wait for it was over")
        elif beside is not None and not beside.end(_AT_EXIT_S):
            _LOG.warning("%s: the process beside the training had to be killed", self.model_id)
        self._release()

    def _release(self) -> None:
        self._is_open = False
        atexit.unregister(self._leave)
        self._scratch.remove()

    def _leave(self) -> None:
        """The program ends without `close`: an error, Ctrl-C."""
        self.abandon()


def watch(
    model: torch.nn.Module,
    catalog: str | os.PathLike[str],
    *,
    every: int,
    model_id: str,
    config: Mapping[str, object] | None = None,
    options: AnalysisOptions | None = None,
    selection: LayerSelection | None = None,
    on_onset: Callable[[int, Mapping[str, int]], None] | None = None,
    loggers: Iterable[str | Log] = (),
    wait: bool = False,
    max_share: float = 0.02,
    threads: int = 1,
    device: str = "cpu",
    idle_only: bool = True,
    scratch: str | os.PathLike[str] | None = None,
) -> Watch:
    """Watch a training loop of any kind: call the result with the number of every step that is done.

    `catalog`: folder or URL, made if need be; `model_id`: what the run is called there, one model whose steps are
    a trajectory. `config`: as config.json, of a model that carries none; it tells heads and experts. `on_onset`
    hears (step, layer -> step of its onset), besides the `TrapOnsetWarning`. `loggers`: 'wandb', 'mlflow',
    'tensorboard:FOLDER', functions. `wait`: measure every step that is due, however long the training waits.
    `max_share`: a snapshot that would cost the training more than this share of its time is skipped. `threads`,
    `device`: of the process that measures. `idle_only`: it takes processor time that nobody else wants (Linux).
    `scratch`: folder for the weights on their way; else shared memory.

    Of a distributed training only rank 0 does anything. UseError for weights that are spread over processes, a
    catalog that cannot be written, a name that another training is using.
    """
    return Watch(
        model, catalog, every=every, model_id=model_id, config=config, options=options, selection=selection,
        on_onset=on_onset, loggers=loggers, wait=wait, max_share=max_share, threads=threads, device=device,
        idle_only=idle_only, scratch=scratch,
    )  # fmt: skip


def _callers_level() -> int:
    """`stacklevel` of a warning for the first frame outside this package: a line of the training."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and __package__ in frame.f_globals.get("__name__", ""):
        frame, level = frame.f_back, level + 1
    return level


def _is_first() -> bool:
    """True on the one process of a training that measures."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    return os.environ.get("RANK", "0") in ("", "0")  # torchrun's, before it is initialised


def _config_of(model: torch.nn.Module) -> Mapping[str, object] | None:
    """The config that a transformers model carries, as its config.json would have it."""
    to_dict = getattr(getattr(unwrapped(model), "config", None), "to_dict", None)
    config = to_dict() if callable(to_dict) else None
    return config if isinstance(config, Mapping) else None
