"""Secrets do not leave this process by what it says or stores: they are struck out of every line and row.

By what they look like (tokens, keys, passwords in URLs, signatures of URLs), and by what they are: the
values of the environment's variables that hold secrets by their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

STRUCK = "***"
"""What stands for a secret."""
_FEWEST = 8
"""A value of the environment with fewer letters is not looked for: it would strike out common words."""
_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|ACCESS_KEY|API_KEY|ACCOUNT_KEY", re.I)
"""Variables whose values are secrets. Not those that name a file of it (`…_PATH`, `…_FILE`)."""
_NOT_SECRET = re.compile(r"(_PATH|_FILE|_DIR|_MODE|_PARALLELISM)$", re.I)

_LOOKS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), STRUCK),
    (re.compile(r"\bapi_org_[A-Za-z0-9]{16,}"), STRUCK),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), STRUCK),
    (re.compile(r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\g<1>{STRUCK}"),
    (re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|token)\s+)[A-Za-z0-9._~+/=-]{8,}"),
     rf"\g<1>{STRUCK}"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)"), rf"\g<1>{STRUCK}\g<2>"),
    (re.compile(r"(?i)\b((?:X-Amz-(?:Signature|Credential|Security-Token)|X-Goog-(?:Signature|Credential)|"
                r"Signature|sig|token|Key-Pair-Id|Policy)=)[^&\s\"'<>]{8,}"), rf"\g<1>{STRUCK}"),
)  # fmt: skip
"""What secrets look like, and what is left of them."""


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without secrets. `environment`: this process's own, where None."""
    for value in _values(os.environ if environment is None else environment):
        text = text.replace(value, STRUCK)
    for look, left in _LOOKS:
        text = look.sub(left, text)
    return text


def _values(environment: Mapping[str, str]) -> list[str]:
    """Secrets of the environment, the longest first."""
    values = {
        value.strip()
        for name, value in environment.items()
        if _NAMES.search(name) and not _NOT_SECRET.search(name) and len(value.strip()) >= _FEWEST
    }
    return sorted(values, key=lambda value: -len(value))
