"""Which metric group every measured column is in, and how a test raises a version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zoo import version
from zoo.columns import columns_of
from zoo.measure.row import LayerRow, SpectrumRow, TrapRow
from zoo.version import DECODERS, GROUPS

FACTS = ("LayerName", "Place", "Stored", "Shape", "Outcome", "Effort", "Reading", "Probe",
         "Counterpart", "ProbedLayer")  # fmt: skip
"""Classes of columns that no group decides: NUMBERS_VERSION does, a clock, or nobody yet."""
OF_SPECTRUM = ("eigenvalues", "scale_exponent")
"""Columns that NUMBERS_VERSION decides."""


def groups_of_columns() -> dict[str, str | None]:
    """The group of every column that is measured; None for facts."""
    found: dict[str, str | None] = {}
    for column in (c for row in (LayerRow, TrapRow, SpectrumRow) for c in columns_of(row)):
        words = {column.name, column.group.__name__}
        named = [n for n, group in GROUPS.items() if column.name in group.columns]
        named = named or [n for n, group in GROUPS.items() if words & {*group.columns}]
        is_fact = column.group.__name__ in FACTS or column.name in OF_SPECTRUM
        assert len(named) == (0 if is_fact else 1), f"{column.name} is in the groups {named}"
        found[column.name] = named[0] if named else None
    return found


def raise_group(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As a commit would that moves a value of the group."""
    group = GROUPS[name]
    monkeypatch.setitem(GROUPS, name, replace(group, version=group.version + 1))


def raise_decoder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As a commit would that mends the decoder."""
    monkeypatch.setitem(DECODERS, name, (version.decoder_version(name) or 0) + 1)
