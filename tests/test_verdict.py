"""Verdicts: which evidence objects, what is not listened to, and that no word goes beyond it."""

from __future__ import annotations

import pytest

from catalog.read.verdict import Label, chance_of_as_many, verdict

QUIET: dict[str, object] = {
    "num_layers_scored": 40, "num_layers_with_p": 40, "num_layers_p01": 0, "min_trap_p_value": 0.3,
    "total_traps": 0.0, "total_traps_mean": 0.0, "total_traps_entries": 0.0, "max_trap_excess": None,
    "num_layers_fitted": 39, "num_over_trained": 0, "num_under_trained": 0,
    "mean_abs_erg_log_ratio": 0.5,
}  # fmt: skip
"""A model to which nothing objects."""
TRAPPED = {"num_layers_p01": 8, "min_trap_p_value": 1e-9, "total_traps": 11.0,
           "total_traps_entries": 11.0, "max_trap_excess": 9.0}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "no warning sign"),
        (TRAPPED, "traps alone"),
        ({**TRAPPED, "num_over_trained": 10}, "traps and low alpha"),
        ({**TRAPPED, "num_under_trained": 20}, "traps and high alpha"),
        ({"num_over_trained": 10}, "low alpha alone"),
        ({"num_under_trained": 20}, "high alpha"),
        ({"num_layers_fitted": 2, "num_over_trained": 2}, "too little evidence"),
        ({**TRAPPED, "num_layers_fitted": 2, "num_over_trained": 2}, "traps alone"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_verdict_names_what_objects(changes: dict[str, object], label: Label) -> None:
    assert verdict({**QUIET, **changes}).label == label


@pytest.mark.parametrize(
    ("trapped", "tested", "p", "label"),
    [
        (1, 40, 0.008, "no warning sign"),
        (1, 40, 1e-5, "traps alone"),
        (4, 40, 0.008, "traps alone"),
    ],
    ids=["as chance makes", "one, but clear", "more than chance makes"],
)
def test_a_false_alarm_is_no_sign(trapped: int, tested: int, p: float, label: str) -> None:
    row = {**QUIET, "num_layers_p01": trapped, "num_layers_with_p": tested, "min_trap_p_value": p}
    assert verdict(row).label == label


def test_the_chance_of_false_alarms_is_that_of_the_binomial_law() -> None:
    from scipy.stats import binom

    for trapped, tested in ((1, 3), (2, 40), (8, 40), (1, 1)):
        wanted = binom.sf(trapped - 1, tested, 0.01)
        assert chance_of_as_many(trapped, tested) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def test_the_evidence_is_named_with_its_causes() -> None:
    words = verdict({**QUIET, **TRAPPED, "total_traps_mean": 3.0}).evidence
    assert "8 of 40 layers at p <= 0.01 (0.4 by chance)" in words
    assert "11 in all, 11 by a few large entries, 3 by a mean that is not zero" in words
    assert "39 of 39 layers between 2 and 6" in words
    assert "a factor of 1.6 from the ERG condition" in words


def test_poor_alignment_confirms_no_alpha() -> None:
    words = verdict({**QUIET, "mean_abs_erg_log_ratio": 2.4}).evidence
    assert "an alpha near 2 is not confirmed" in words


def test_what_was_not_measured_does_not_acquit() -> None:
    words = verdict({**QUIET, "num_layers_with_p": 0}).evidence
    assert "traps were not looked for" in words and "Traps: not measured." in words
