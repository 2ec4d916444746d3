"""What must not leave this machine: columns that are left out, and texts that stop a release.

Tokens, names of machines and paths are told by their form and by what this machine knows of itself. A value that is
found is never printed: the message says where it is.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.site.safe import without_paths

LEFT_OUT: dict[str, frozenset[str]] = {
    "models": frozenset({"host", "source"}),
    "failures": frozenset({"traceback", "log_uri"}),
    "sweeps": frozenset({"spec"}),
    "listing": frozenset({"source"}),
}
"""Columns of each table that say where and how it was measured on machines that are nobody else's business."""

_TOKENS = {
    "a token of the Hub": r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Google": r"\bAIza[\w-]{30,}",
    "an API key": r"\bsk-(?:proj-|ant-\w+-)?[A-Za-z0-9]{32,}",
    "a token of Slack": r"\bxox[abprs]-[\w-]{10,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a bearer token": r"[Bb]earer\s+[A-Za-z0-9._~+/-]{16,}",
    "a password in an address": r"\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@",
    "a signed address": r"[?&](?:X-Amz-Signature|Signature|sig)=[A-Za-z0-9%]{16,}",
}
_MIN_SECRET = 8
"""Shorter values of environment variables are no secrets."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Finds what must not leave; knows this machine."""

    tokens: re.Pattern[str]
    words: tuple[str, ...]
    """Texts that must not appear anywhere: this machine's tokens."""
    hosts: re.Pattern[str] | None
    """Its names; None where they are words like any other."""
    folders: tuple[str, ...]
    """Its absolute paths: of the catalog, of home, of where the program runs."""

    @classmethod
    def of_this_machine(cls, *folders: str) -> Guard:
        """What is known here; `folders`: absolute paths besides, such as the catalog's."""
        secrets = tuple(
            value
            for name, value in os.environ.items()
            if re.search(r"TOKEN|SECRET|PASSW|API_KEY|ACCESS_KEY", name.upper())
            and len(value) >= _MIN_SECRET
            and not os.path.exists(value)
        )
        names = {socket.gethostname(), socket.gethostname().partition(".")[0]}
        # a machine that is called `bert` cannot be told from the model
        telling = [re.escape(n) for n in names if len(n) >= 6 and re.search(r"[\d.-]", n)]
        places = {os.path.abspath(f) for f in (*folders, os.path.expanduser("~"), os.getcwd())}
        return cls(
            re.compile("|".join(f"(?P<t{i}>{form})" for i, form in enumerate(_TOKENS.values()))),
            (*secrets, *_stored_token()),
            re.compile(rf"(?<![\w.-])(?:{'|'.join(telling)})(?![\w-])") if telling else None,
            tuple(sorted(place for place in places if place.count("/") > 1)),
        )

    def find(self, text: str) -> Iterator[str]:
        """What is in `text` that must not leave, in words."""
        match = self.tokens.search(text)
        if match is not None:
            yield tuple(_TOKENS)[int(str(match.lastgroup)[1:])]
        if any(word in text for word in self.words):
            yield "a token of this machine"
        if self.hosts is not None and self.hosts.search(text):
            yield "the name of this machine"
        if any(place in text for place in self.folders) or without_paths(text) != text:
            yield "an absolute path"


def _stored_token() -> tuple[str, ...]:
    """The token that a Hub client has stored here; it would be found by its form too, unless it has another."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
    try:
        stored = (home / "token").read_text(encoding="utf-8").strip()
    except OSError:
        return ()
    return (stored,) if len(stored) >= _MIN_SECRET else ()
