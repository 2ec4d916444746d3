"""Requests and replies of the served Hub as values, without a socket in sight."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from zoo.loopback.digests import Blob


@dataclass(frozen=True, slots=True)
class Request:
    """One request, parsed."""

    method: str
    path: str
    """Unquoted."""
    segments: tuple[str, ...]
    """The path split at `/` before unquoting, then unquoted: a branch `a/b` is one segment."""
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    base_url: str
    """`http://127.0.0.1:1234`, as the client wrote it."""

    def first(self, key: str) -> str | None:
        """The first value of a query field."""
        values = self.query.get(key)
        return values[0] if values else None

    @property
    def token(self) -> str | None:
        """The bearer token. Never logged, never recorded."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() or None if kind.lower() == "bearer" else None


@dataclass(frozen=True, slots=True)
class FilePart:
    """A stretch of a file as the body of a reply."""

    blob: Blob
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers and body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FilePart = b""

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return self.body.length if isinstance(self.body, FilePart) else len(self.body)


def json_reply(value: object, headers: Mapping[str, str] | None = None) -> Reply:
    """200 with a JSON body."""
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Reply(200, {**kind, **(headers or {})}, json.dumps(value).encode())


def error_reply(
    status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """An error as the Hub words it: `X-Error-Code`, `X-Error-Message` and a JSON body."""
    all_headers = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    one_line = message.encode("ascii", "replace").decode().replace("\n", " ")
    all_headers["X-Error-Message"] = one_line
    if code:
        all_headers["X-Error-Code"] = code
    return Reply(status, all_headers, json.dumps({"error": message}).encode())


@dataclass(frozen=True, slots=True)
class BadRange:
    """A Range header that cannot be satisfied."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | BadRange | None:
    """`(start, length)` asked for by a Range header of a file of `size` bytes.

    None when there is no header, or one the server may ignore (several ranges, another unit).
    """
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,18})-(\d{0,18})\s*", header or "")
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        return (size - length, length) if length else BadRange()
    start, stop = int(first), min(int(last) + 1 if last else size, size)
    if start >= size or stop <= start:
        return BadRange()
    return start, stop - start
