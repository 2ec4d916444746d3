"""What a reader should see in the demo's five models, and why: words around the numbers of its catalog.

The figures are asked of the catalog, as training differs a little from machine to machine; the words
hold whatever they are, or are chosen by them.
"""

from __future__ import annotations

import textwrap
from typing import Any

import duckdb

from catalog.read.query import ask_rows
from jobs.demo.build import ENCODER, TRAJECTORY

_STEPS = f"""
    select step, test_accuracy, train_accuracy, total_traps, num_layers_trapped, num_layers_tested,
        max_trap_excess
    from trajectories
    where model_id = 'local/{TRAJECTORY}' and test_accuracy is not null
"""
_FINAL = """
    select name, total_traps, total_traps_entries, num_layers_trapped, num_layers_tested,
        num_layers_fitted, mean_abs_alpha_minus_2, value as test_accuracy
    from model_scores left join (
        select model_id, revision, max(value) as value
        from evaluations where metric = 'test_accuracy' group by all
    ) using (model_id, revision)
    where is_final
"""
VIEWS = frozenset({"trajectories", "model_scores", "evaluations"})
"""What is asked here."""

Row = dict[str, Any]


def story(con: duckdb.DuckDBPyConnection) -> str:
    """The text, or nothing when a model of the demo is missing."""
    steps = ask_rows(con, f"{_STEPS} order by step").to_pylist()
    final = {row["name"]: row for row in ask_rows(con, _FINAL).to_pylist()}
    names = {ENCODER, TRAJECTORY, "mlp-shuffled-labels", "mlp-untrained"}
    if not steps or not names <= set(final):
        return ""
    best, last = max(steps, key=lambda row: (row["test_accuracy"], -row["step"])), steps[-1]
    early = next((row["step"] for row in steps if row["total_traps"]), None)
    shuffled, untrained, encoder = (
        final[name] for name in ("mlp-shuffled-labels", "mlp-untrained", ENCODER)
    )
    items = [
        f"{TRAJECTORY} at its best (step {best['step']:,}): test accuracy {best['test_accuracy']:.2f}, "
        f"{_traps(best)}. It had memorised its 200 digits long before; what generalises came later.",
        f"{TRAJECTORY} at its end (step {last['step']:,}): test accuracy {last['test_accuracy']:.2f}, training "
        f"accuracy {last['train_accuracy']:.2f}, {_traps(last)}{_largest(last)}. The training accuracy cannot "
        f"show what was lost; the weights can. {_first(early, best)}",
        f"mlp-shuffled-labels: {_traps(shuffled)}. It memorised wrong labels (test accuracy "
        f"{shuffled['test_accuracy']:.2f}, chance 0.10): over-fitting and nothing else.",
        f"mlp-untrained: {_traps(untrained)}. Random weights, where one false alarm in 100 matrices is what "
        "the test allows; its alpha is a fit to noise.",
        f"{ENCODER}: {_traps(encoder)}, {encoder['total_traps_entries'] or 0:.3g} of its "
        f"{encoder['total_traps'] or 0:.3g} traps by a few large entries. A model that is in use: a trap is a "
        "reason to look at a layer, and no sentence on a model.",
    ]
    paragraphs = [f"{number}. {text}" for number, text in enumerate(items, 1)]
    paragraphs.append(_alpha(final[TRAJECTORY], encoder))
    return "\n".join(
        textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="     ")
        for text in paragraphs
    )


def _traps(row: Row) -> str:
    return f"traps in {row['num_layers_trapped']} of {row['num_layers_tested']} layers"


def _largest(row: Row) -> str:
    excess = row["max_trap_excess"]
    return "" if excess is None else f", the largest at {1 + excess:.2g} times the edge"


def _first(early: int | None, best: Row) -> str:
    """When traps came, beside when the network was at its best."""
    if early is None:
        return "On this machine no trap came with it."
    when = "before" if early < best["step"] else "when" if early == best["step"] else "after"
    return f"The first trap came at step {early:,}, {when} the test accuracy was at its best."


def _alpha(perceptron: Row, encoder: Row) -> str:
    ours, theirs = perceptron["mean_abs_alpha_minus_2"], encoder["mean_abs_alpha_minus_2"]
    if ours is None or theirs is None:
        return "Alpha: one of them has no fitted layer."
    place = "would come first" if ours < theirs else "would come behind"
    return (
        f"Alpha: at its end {TRAJECTORY} {place} with a mean distance of {ours:.2f} from 2 over "
        f"{perceptron['num_layers_fitted']} fitted layers, beside {theirs:.2f} over "
        f"{encoder['num_layers_fitted']} of the encoder. So few layers prove nothing: boards of alpha and "
        "alignment list it below the line. Traps are counted against a law of noise matrix by matrix, so "
        "their board is shown from three layers on."
    )
