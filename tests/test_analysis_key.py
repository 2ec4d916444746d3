"""An analysis key says which numbers those are: what can move them is hashed in it, and nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.refit.columns import EXTRAS, OWN, RAND
from jobs.sources.target import Target
from jobs.units.key import NumberVersions, asked, options_key, refit_key, unit_key
from jobs.units.unit import Unit, unit_of
from tests.number_groups import groups_of_columns, raise_decoder, raise_group
from zoo.cells import cells
from zoo.measure.layer import measure_layer
from zoo.options import AnalysisOptions, LayerSelection
from zoo.version import DECODERS, GROUPS, NUMBERS_VERSION, UNKNOWN, decoder_version

DEFAULTS = AnalysisOptions()
ALL = LayerSelection()
FORMATS = Path(__file__).parents[1] / "docs" / "formats.md"

ASKED = {
    "entries": DEFAULTS,
    "scalars": DEFAULTS,
    "tail": DEFAULTS,
    "clipping": replace(DEFAULTS, clip_fingers=True),
    "goodness": replace(DEFAULTS, bootstrap=3),
    "tail_models": replace(DEFAULTS, alternatives=True),
    "farms": replace(DEFAULTS, farms=True),
    "difference": DEFAULTS,
    "bulk": DEFAULTS,
    "erg": DEFAULTS,
    "quality": DEFAULTS,
    "phase": DEFAULTS,
    "snr": DEFAULTS,
    "shuffle": DEFAULTS,
    "shuffled_spectrum": DEFAULTS,
    "traps": DEFAULTS,
    "trap_modes": DEFAULTS,
    "incumbent": DEFAULTS,
}
"""Options that ask for each group."""
TAIL_ALONE = replace(DEFAULTS, metrics="tail")
NOT_ASKED = {
    "clipping": DEFAULTS,
    "goodness": DEFAULTS,
    "tail_models": DEFAULTS,
    "farms": DEFAULTS,
    "bulk": TAIL_ALONE,
    "erg": TAIL_ALONE,
    "quality": TAIL_ALONE,
    "phase": TAIL_ALONE,
    "snr": TAIL_ALONE,
    "shuffle": replace(DEFAULTS, shuffle="none"),
    "shuffled_spectrum": replace(DEFAULTS, shuffle="top"),
    "traps": TAIL_ALONE,
    "trap_modes": replace(DEFAULTS, modes=False),
    "incumbent": replace(DEFAULTS, incumbent=False),
}
"""Options that do not; the other groups are always there."""


def unit(*decoders: str, options: AnalysisOptions = DEFAULTS) -> Unit:
    target = Target("org/a", "f" * 40, None, "test")
    return unit_of(target, options, ALL).with_decoders(decoders)


def test_a_group_or_decoder_of_version_1_adds_nothing_to_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a new one changes no key."""
    for name, group in GROUPS.items():
        monkeypatch.setitem(GROUPS, name, replace(group, version=1))
    before = options_key(DEFAULTS, ALL), refit_key(DEFAULTS, ALL)
    for name in [*GROUPS]:
        monkeypatch.delitem(GROUPS, name)
    assert (options_key(DEFAULTS, ALL), refit_key(DEFAULTS, ALL)) == before
    assert unit_key(before[0], {}) == before[0] and len(set(before)) == 2


def test_the_base_model_is_in_the_key_of_an_adapter() -> None:
    keys = {options_key(DEFAULTS, ALL, base_revision=base) for base in ("", "a", "b")}
    assert len(keys) == 3


@pytest.mark.parametrize("name", GROUPS)
def test_a_group_that_is_asked_for_is_in_the_key(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = options_key(ASKED[name], ALL)
    raise_group(monkeypatch, name)
    assert options_key(ASKED[name], ALL) != before


@pytest.mark.parametrize("name", NOT_ASKED)
def test_a_group_that_the_options_switch_off_is_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = options_key(NOT_ASKED[name], ALL)
    raise_group(monkeypatch, name)
    assert options_key(NOT_ASKED[name], ALL) == before


@pytest.mark.parametrize("name", NOT_ASKED)
def test_options_that_switch_a_group_off_leave_its_columns_null(name: str) -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal((130, 104)).astype(np.float32)
    values[5, 7] = 60.0
    columns = {column for column, group in groups_of_columns().items() if group == name}

    def there(options: AnalysisOptions) -> set[str]:
        done = measure_layer(
            torch.from_numpy(values)[None], options=options, seed_key=("r", "t", "", ""),
            storage_bits=32,
        )  # fmt: skip
        rows = [done.columns, *map(cells, done.traps)]
        rows += [] if done.rand_spectrum is None else [{"rand_eigenvalues": 1}]
        return {column for row in rows for column in columns if row.get(column) is not None}

    assert there(NOT_ASKED[name]) == set()
    assert there(ASKED[name])


def test_every_measured_column_is_in_one_group() -> None:
    named = {group for group in groups_of_columns().values() if group is not None}
    assert named == set(GROUPS) == set(ASKED)


def test_the_groups_that_follow_from_spectra_are_those_that_a_refit_computes() -> None:
    anew = {
        column for column, group in groups_of_columns().items()
        if group is not None and GROUPS[group].follows_from_spectra
    }  # fmt: skip
    assert anew == {*OWN, *EXTRAS, *RAND}


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_in_the_key_of_the_units_that_use_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, others = unit(name, "none"), unit(*(d for d in ("none", "gptq") if d != name))
    before = users.analysis_key, others.analysis_key
    raise_decoder(monkeypatch, name)
    assert users.analysis_key != before[0] and others.analysis_key == before[1]


def test_the_order_in_which_decoders_are_met_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("fp8", "gptq"):
        raise_decoder(monkeypatch, name)
    assert unit("gptq", "fp8") == unit("fp8", "gptq", "fp8")


def test_a_type_of_gguf_has_the_version_of_all_until_it_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raise_decoder(monkeypatch, "gguf")
    assert decoder_version("gguf_q4_k") == 2
    monkeypatch.setitem(DECODERS, "gguf_q4_k", 3)
    assert (decoder_version("gguf_q4_k"), decoder_version("gguf_q6_k")) == (3, 2)
    assert decoder_version("of_tomorrow") is None
    assert unit("of_tomorrow").analysis_key == unit().analysis_key


def test_every_decoder_of_the_page_of_formats_has_a_version() -> None:
    table = FORMATS.read_text(encoding="utf-8").partition("| `decoder` |")[2].partition("\n\n")[0]
    cells = (line.split("|")[1] for line in table.splitlines()[2:])
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert named == {"gguf_*" if name == "gguf" else name for name in DECODERS if name != UNKNOWN}


def test_the_versions_of_a_key_are_kept_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unit("none").number_versions.to_json() is None
    raise_group(monkeypatch, "tail")
    raise_decoder(monkeypatch, "fp8")
    versions = unit("none", "fp8").number_versions
    assert versions == NumberVersions({"tail": 2}, {"fp8": 2})
    assert NumberVersions.from_json(versions.to_json()) == versions
    assert NumberVersions.from_json(None) == NumberVersions()
    of_options = options_key(DEFAULTS, ALL, groups=versions.groups)
    assert unit_key(of_options, versions.decoders) == unit("none", "fp8").analysis_key


OTHERS = {
    "metrics": "tail", "shuffle": "full", "replicates": 2, "seed": 1, "level": 0.05,
    "modes": False, "incumbent": False, "farms": True, "alternatives": True, "bootstrap": 5,
    "clip_fingers": True,
}  # fmt: skip
"""Another value of every option that can move a number."""


def test_every_option_that_can_move_a_number_is_in_the_key() -> None:
    assert {field.name for field in fields(AnalysisOptions)} == {*OTHERS, "device"}
    changed = [replace(DEFAULTS, **{name: value}) for name, value in OTHERS.items()]
    keys = {options_key(options, ALL) for options in (DEFAULTS, *changed)}
    assert len(keys) == 1 + len(OTHERS)
    assert options_key(replace(DEFAULTS, device="cpu"), ALL) in keys


def test_what_was_asked_for_is_what_decides_the_key_but_for_the_base() -> None:
    assert asked(DEFAULTS, ALL) == asked(DEFAULTS, LayerSelection(deltas=True))
    assert asked(DEFAULTS, ALL) != asked(AnalysisOptions(metrics="tail"), ALL)
    assert asked(DEFAULTS, ALL) != asked(DEFAULTS, LayerSelection(include=("*.fc.*",)))
    assert json.loads(asked(DEFAULTS, ALL))["numbers"] == NUMBERS_VERSION
