"""The experiments by name; each module is imported only when it runs."""

from __future__ import annotations

import importlib
from typing import Final

from jobs.experiments.place import Findings, Place

EXPERIMENTS: Final = {
    "alignment": "alpha against the ERG condition on real models that packages ship",
    "addition": "a one-layer transformer on addition modulo a prime",
    "grokking": "a perceptron on digits, trained far beyond memorising",
    "harm": "which traps of that perceptron matter, and whether it heals without them",
    "mlp3": "SETOL's three-layer perceptron over batch sizes and learning rates",
}
"""What each is about."""


def run_experiment(name: str, place: Place) -> Findings:
    """Run one of EXPERIMENTS, or what is left of it, at `place`."""
    module = importlib.import_module(f"jobs.experiments.{name}")
    findings: Findings = module.run(place)
    return findings
