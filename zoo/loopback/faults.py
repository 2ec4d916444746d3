"""Faults a served Hub can be told to show, and when.

A fault is a frozen value; `Faults` holds those switched on and counts what each has seen. Knows
nothing of HTTP beyond the path of a request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Final, Literal, get_args

from zoo.errors import UseError

FaultKind = Literal[
    "429",
    "500",
    "502",
    "503",
    "504",
    "408",
    "slow",
    "stall",
    "cut",
    "garble",
    "ignore_range",
    "changed_etag",
    "changed_sha",
    "redirect",
    "expired",
    "gated",
    "missing",
    "disabled",
]
"""How a server can misbehave; see `Fault.kind`."""
KINDS: Final[tuple[str, ...]] = get_args(FaultKind)
"""Every kind of fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misbehaviour, for the requests it matches."""

    kind: FaultKind
    """A status: that error. `slow`: `rate` bytes/s. `stall`: silent for `seconds` after `at_byte`
    bytes of the body. `cut`: the connection ends after `at_byte` bytes. `garble`: one wrong bit.
    `ignore_range`: 200 and the whole file. `changed_etag`, `changed_sha`: other headers than
    before. `redirect`: to the second origin. `expired`: 403 on the second origin. `gated`,
    `missing`, `disabled`: the Hub's own refusals."""
    match: str = "*"
    """Glob on the unquoted path of the request, such as `*/resolve/*.safetensors`."""
    method: str = "*"
    """Glob on the method of the request."""
    after: int = 0
    """So many matching requests are let through first."""
    every: int = 1
    """Of those after them, every n-th is hit."""
    times: int | None = None
    """Most requests that are hit in all; None: no end."""
    from_s: float = 0.0
    """Seconds after the fault was switched on before it starts."""
    until_s: float | None = None
    """Seconds after which it ends; None: never."""
    seconds: float = 3600.0
    """Length of a stall; for 429 and 503, the `Retry-After` that is announced."""
    at_byte: int = 0
    """Bytes of the body sent before a cut, stall or wrong bit."""
    rate: float = 1e6
    """Bytes per second of a slow body."""


def parse_fault(text: str) -> Fault:
    """A fault from the command line: `503:every=10,match=*/resolve/*`. UseError when unclear."""
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise UseError(f"unknown fault {kind!r}; expected one of {', '.join(KINDS)}")
    allowed = {f.name: f.type for f in fields(Fault) if f.name != "kind"}
    values: dict[str, str | int | float] = {}
    for item in filter(None, rest.split(",")):
        key, sep, value = item.partition("=")
        if key not in allowed or not sep:
            raise UseError(
                f"fault {text!r}: got {item!r}, expected one of {', '.join(allowed)}=..."
            )
        try:
            values[key] = _parse_as(str(allowed[key]), value)
        except ValueError as err:
            raise UseError(f"fault {text!r}: {key} has to be a number, got {value!r}") from err
    return Fault(kind, **values)  # type: ignore[arg-type]


def _parse_as(annotation: str, value: str) -> str | int | float:
    """`value` as a field of this annotation holds it; ValueError when it is no number."""
    if annotation.startswith("int"):
        return int(value)
    return float(value) if annotation.startswith("float") else value


class Faults:
    """The faults switched on; safe to change while the server answers."""

    def __init__(
        self, faults: Iterable[Fault] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._on: list[_Counted] = []
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> None:
        """Switch a fault on, from now."""
        with self._lock:
            self._on.append(_Counted(fault, self._clock()))

    def clear(self) -> None:
        """Switch every fault off."""
        with self._lock:
            self._on.clear()

    def hits(self, method: str, path: str) -> dict[str, Fault]:
        """The faults this request gets, by kind. Counts the request."""
        with self._lock:
            now = self._clock()
            return {c.fault.kind: c.fault for c in self._on if c.hit(method, path, now)}


class _Counted:
    """A fault with the count of the requests it matched and of those it hit."""

    def __init__(self, fault: Fault, since: float) -> None:
        self.fault = fault
        self._since = since
        self._matched = 0
        self._hits = 0

    def hit(self, method: str, path: str, now: float) -> bool:
        """Whether this request is hit. Counts it."""
        fault, age = self.fault, now - self._since
        if age < fault.from_s or (fault.until_s is not None and age >= fault.until_s):
            return False
        if not (fnmatchcase(path, fault.match) and fnmatchcase(method, fault.method)):
            return False
        self._matched += 1
        number = self._matched - fault.after
        if (
            number < 1
            or number % fault.every
            or (fault.times is not None and self._hits >= fault.times)
        ):
            return False
        self._hits += 1
        return True
