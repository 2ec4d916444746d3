"""What traps, alpha and alignment say of one model together, in words that name their evidence.

Words and thresholds are ours (docs/science.md). None of them says that a model is good: a weight
matrix can object to a model, it cannot vouch for one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Label = Literal[
    "traps and low alpha",
    "traps alone",
    "low alpha alone",
    "traps and high alpha",
    "high alpha",
    "no warning sign",
    "too little evidence",
]
"""Which kinds of evidence object."""

LEVEL = 0.01
"""More trapped layers than chance makes once in a hundred models are a sign."""
MIN_FITTED = 5
"""Fitted layers that alpha and alignment need to be listened to, whatever a board asks for."""
_LOW_SHARE = 0.1
"""As many of the fitted layers with alpha below 2 are a sign of over-training."""
_HIGH_SHARE = 0.25
"""As many of the fitted layers with alpha above 6 are a sign of under-training."""
_ALIGNED, _FAR = math.log(2), math.log(10)
"""Mean |erg_log_ratio| up to which tails start near the ERG condition, and from which on far off it."""

_MEANING: dict[Label, str] = {
    "traps and low alpha": "Traps and alpha both speak of over-fitting.",
    "traps alone": "Traps speak of over-fitting, alpha does not: the evidence is divided, and neither the "
    "number nor the size of traps tells whether they do harm.",
    "low alpha alone": "Alpha below 2 is what HTSR calls over-trained; no trap says so too.",
    "traps and high alpha": "Traps speak of over-fitting, alpha above 6 of layers that are hardly trained: "
    "where there are traps, alpha is not to be relied on.",
    "high alpha": "Alpha above 6 is what HTSR calls under-trained.",
    "no warning sign": "Neither traps nor alpha object, which is no proof of quality.",
    "too little evidence": "Nothing can be said of it.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the numbers of a model say."""

    label: Label
    """In three words."""
    evidence: str
    """In sentences."""


def verdict(scores: Mapping[str, Any]) -> Verdict:
    """The verdict on a model with these columns of `model_scores`."""
    fitted = scores["num_layers_fitted"]
    is_heard = fitted >= MIN_FITTED
    traps = has_traps(scores)
    low = is_heard and scores["num_over_trained"] >= _LOW_SHARE * fitted
    high = is_heard and scores["num_under_trained"] >= _HIGH_SHARE * fitted
    label: Label
    if traps:
        label = "traps and low alpha" if low else "traps and high alpha" if high else "traps alone"
    elif not is_heard:
        label = "too little evidence"
    else:
        label = "low alpha alone" if low else "high alpha" if high else "no warning sign"
    meaning = _MEANING[label]
    if traps and not is_heard:
        meaning = (
            "Traps speak of over-fitting; alpha and alignment have too few layers to be heard."
        )
    elif label == "no warning sign" and not scores["num_layers_with_p"]:
        meaning = "Alpha does not object, and traps were not looked for: no proof of quality."
    parts = [meaning, _traps_in_words(scores), _alpha_in_words(scores, is_heard)]
    if is_heard:
        parts.append(_alignment_in_words(scores))
    return Verdict(label, " ".join(filter(None, parts)))


def has_traps(scores: Mapping[str, Any]) -> bool:
    """True when chance makes as many trapped layers, or one as clear, less than once in a hundred models."""
    tested, trapped = scores["num_layers_with_p"], scores["num_layers_p01"]
    if not tested or not trapped:
        return False
    return chance_of_as_many(trapped, tested) < LEVEL or scores["min_trap_p_value"] * tested < LEVEL


def chance_of_as_many(trapped: int, tested: int, *, level: float = 0.01) -> float:
    """Probability of at least `trapped` of `tested` false alarms, each of probability `level`."""
    fewer = math.fsum(
        math.comb(tested, k) * level**k * (1 - level) ** (tested - k) for k in range(trapped)
    )
    return max(0.0, 1.0 - fewer)


def _traps_in_words(scores: Mapping[str, Any]) -> str:
    tested, trapped = scores["num_layers_with_p"], scores["num_layers_p01"]
    if not tested:
        return "Traps: not measured."
    words = f"Traps: {trapped} of {_layers(tested)} at p <= 0.01 ({0.01 * tested:.2g} by chance)"
    if not trapped:
        return f"{words}."
    words += _causes(scores)
    if scores["max_trap_excess"] is not None:
        words += f"; the largest at {1 + scores['max_trap_excess']:.3g} times the edge"
    return f"{words}."


def _causes(scores: Mapping[str, Any]) -> str:
    """How many traps there are, and by what; the mean over the shuffles, so no whole number."""
    total, by_mean = scores["total_traps"], scores["total_traps_mean"]
    entries = scores["total_traps_entries"]
    if not total or by_mean is None or entries is None:
        return ""
    causes = [
        f"{number:.3g} {made_by}"
        for number, made_by in (
            (entries, "by a few large entries"),
            (by_mean, "by a mean that is not zero (perhaps innocuous)"),
        )
        if number
    ]
    return f"; {total:.3g} in all, {', '.join(causes)}"


def _alpha_in_words(scores: Mapping[str, Any], is_heard: bool) -> str:
    fitted = scores["num_layers_fitted"]
    if not fitted:
        return "Alpha: no layer was fitted."
    low, high = scores["num_over_trained"], scores["num_under_trained"]
    words = f"Alpha: {fitted - low - high} of {_layers(fitted)} between 2 and 6, {low} below, {high} above"
    if fitted < scores["num_layers_scored"]:
        words += f", {scores['num_layers_scored'] - fitted} without a fit"
    return f"{words}." if is_heard else f"{words}: too few to weigh."


def _alignment_in_words(scores: Mapping[str, Any]) -> str:
    distance = scores["mean_abs_erg_log_ratio"]
    if distance is None:
        return ""
    words = f"Alignment: tails start a factor of {math.exp(distance):.2g} from the ERG condition on average"
    if distance >= _FAR:
        return f"{words}, so that an alpha near 2 is not confirmed by it."
    return f"{words}, which is near." if distance <= _ALIGNED else f"{words}."


def _layers(number: int) -> str:
    return f"{number} layer" if number == 1 else f"{number} layers"
