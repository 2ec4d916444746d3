"""Exceptions of the job half. They join the tree of `zoo.errors`.

UseError
├── SpecError        the sweep spec is wrong; the message starts with the path of the key
└── BusyError        another process runs the same sweep on the same catalog
"""

from __future__ import annotations

from zoo.errors import UseError


class SpecError(UseError):
    """The sweep spec is wrong; the message names the key's path, what we got and what we wanted."""


class BusyError(UseError):
    """Another process runs the same sweep on the same catalog."""
