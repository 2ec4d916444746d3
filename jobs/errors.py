"""Exceptions of the job half. They join the tree of `zoo.errors`.

ZooError
├── UseError
│   └── SpecError      the sweep spec is wrong; the message starts with the path of the key
├── WorkerDiedError    a process that computed for us was killed
└── WorkRaisedError    what it computed raised something nobody expected
"""

from __future__ import annotations

from zoo.errors import UseError, ZooError


class SpecError(UseError):
    """The sweep spec is wrong; the message names the key's path, what we got and what we wanted."""


class WorkerDiedError(ZooError):
    """A process that computed for this one was killed; nothing is wrong with the data."""

    cause = "infra"


class WorkRaisedError(ZooError):
    """A process that computed for this one met a bug; the message ends with its traceback."""
