"""The outcome of a gate as files: JSON for programs, JUnit XML for the pages of a CI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from catalog.read.gate import Breach, Verdict, layer_label
from jobs.screen.text import printable
from zoo.errors import UseError


def write_json(verdicts: Sequence[Verdict], limits: dict[str, object], place: Path) -> None:
    """{"passed", "limits", "models": [{"model", "passed", "num_layers", ..., "breaches": [...]}]}."""
    told = {
        "passed": all(verdict.passed for verdict in verdicts),
        "limits": limits,
        "models": [
            {
                "model": verdict.model,
                "passed": verdict.passed,
                "num_layers": verdict.num_layers,
                "num_known": verdict.num_known,
                "num_unjudged": verdict.num_unjudged,
                "breaches": [breach.to_row() for breach in verdict.breaches],
            }
            for verdict in verdicts
        ],
    }
    _write(place, json.dumps(told, indent=2, ensure_ascii=False) + "\n", "--json")


def write_junit(verdicts: Sequence[Verdict], place: Path) -> None:
    """A test suite a model, a test case a layer; a breach is a failure of its layer's."""
    root = ElementTree.Element("testsuites", name="zoo gate")
    for verdict in verdicts:
        by_layer: dict[str, list[Breach]] = {name: [] for name in verdict.layers}
        for breach in verdict.breaches:
            name = layer_label(breach.tensor, breach.part, breach.expert) or "(the model)"
            by_layer.setdefault(name, []).append(breach)
        num_failed = sum(bool(breaches) for breaches in by_layer.values())
        suite = ElementTree.SubElement(
            root, "testsuite", name=_text(verdict.model), tests=str(len(by_layer)),
            failures=str(num_failed), errors="0", skipped="0",
        )  # fmt: skip
        for name, breaches in by_layer.items():
            case = ElementTree.SubElement(
                suite, "testcase", classname=_text(verdict.model), name=_text(name)
            )
            if breaches:
                why = _text("\n".join(breach.why for breach in breaches))
                kinds = ", ".join(breach.check for breach in breaches)
                ElementTree.SubElement(case, "failure", message=why, type=kinds).text = why
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    _write(place, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n', "--junit")


def _text(text: str) -> str:
    """Without characters that XML forbids."""
    return printable(text, keep="\n")


def _write(place: Path, text: str, option: str) -> None:
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UseError(f"{option}: cannot write {str(place)!r}: {error}") from error
