"""Batches of an accelerator: every layer in one, whatever is scheduled where; memory known beforehand."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.formats import native
from zoo.formats.weight import Weight
from zoo.layers.spec import Cut, LayerSpec
from zoo.measure import pieces as pieces_module
from zoo.measure.plan import plan_of, sections

MANY = settings(max_examples=40, deadline=None)
SIDES = st.sampled_from([1, 64, 100, 300, 2880, 5000])


def weight(name: str, *shape: int, dtype: str = "BF16") -> Weight:
    count = 1
    for side in shape:
        count *= side
    load = partial(native._load, name)
    return Weight(name, shape, dtype, "none", (name,), load, 2 * count)


def layer(index: int, of: Weight, cut: Cut | None = None, slices: int = 1) -> LayerSpec:
    rows, cols = of.shape[-2:]
    return LayerSpec(
        index,
        of.name,
        part=None,
        block=None,
        role="other",
        expert=cut.expert if cut else None,
        num_slices=slices,
        rows=rows,
        cols=cols,
        weight=of,
        cut=cut or Cut(),
    )


@st.composite
def models(draw: st.DrawFn) -> list[LayerSpec]:
    """Matrices, stacks of experts and pooled slices of a few shapes, in file order."""
    specs: list[LayerSpec] = []
    for number in range(draw(st.integers(0, 12))):
        rows, cols = draw(SIDES), draw(SIDES)
        experts = draw(st.sampled_from([0, 0, 3]))
        dtype = draw(st.sampled_from(["BF16", "F32"]))
        if experts:
            stack = weight(f"stack{number}", experts, rows, cols, dtype=dtype)
            specs += [layer(len(specs) + e, stack, Cut(expert=e)) for e in range(experts)]
        else:
            slices = draw(st.sampled_from([1, 1, 9]))
            of = weight(f"matrix{number}", rows, cols, dtype=dtype)
            specs.append(layer(len(specs), of, slices=slices))
    return specs


@MANY
@given(models(), st.sampled_from([0, 8, 80]), st.sampled_from([1, 10**7, 2 << 30]))
def test_every_layer_is_loaded_once_and_in_one_batch(
    specs: list[LayerSpec], memory_gb: int, section_bytes: int
) -> None:
    plan = plan_of(specs, memory_gb=memory_gb, section_bytes=section_bytes)
    loaded = [s.layer_index for section in plan for ld in section.loads for s in ld.specs]
    batched = [s.layer_index for section in plan for b in section.batches for s in b.specs]
    assert loaded == [spec.layer_index for spec in specs]
    assert sorted(batched) == loaded
    for section in plan:
        for batch in section.batches:
            assert (
                len({(s.rows, s.cols, s.weight and s.weight.stored_dtype) for s in batch.specs})
                == 1
            )
            assert all(a.layer_index < b.layer_index for a, b in pairwise(batch.specs))


@MANY
@given(models(), st.sampled_from([1, 10**7]))
def test_a_model_split_over_workers_has_the_batches_of_the_whole(
    specs: list[LayerSpec], section_bytes: int
) -> None:
    whole = plan_of(specs, memory_gb=80, section_bytes=section_bytes)
    for section in whole:
        alone = [spec for spec in specs if spec.weight and spec.weight.name in section.weights]
        # a worker is given the weights of a section, in any order, and cuts nothing anew
        names = {spec.tensor for spec in alone}
        again = [
            s
            for s in plan_of(specs, memory_gb=80, section_bytes=section_bytes)
            if s.weights <= names
        ]
        assert [b.specs for s in again for b in s.batches] == [b.specs for b in section.batches]


def test_equal_matrices_of_different_blocks_fill_batches_and_the_rest_goes_alone() -> None:
    specs = []
    for block in range(36):
        specs.append(layer(2 * block, weight(f"{block}.down", 2880, 2880)))
        specs.append(layer(2 * block + 1, weight(f"{block}.q", 4096, 2880)))
    (section,) = plan_of(specs, memory_gb=80, section_bytes=1 << 40)
    sizes = sorted(len(b.specs) for b in section.batches if b.specs[0].rows == 2880)
    assert sizes == [36]
    (small,) = plan_of(specs[:4], memory_gb=80)
    assert [len(batch.specs) for batch in small.batches] == [1, 1, 1, 1]


def test_neighbouring_experts_are_loaded_together_in_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pieces_module, "_WHOLE_BYTES", 0)
    stack = weight("stack", 64, 2880, 2880)
    specs = [layer(e, stack, Cut(expert=e)) for e in range(64)]
    (section,) = plan_of(specs, memory_gb=80)
    assert section.loads[0].rows == (0, 32)  # 512 MiB of bf16
    assert [len(batch.specs) for batch in section.batches] == [64]


def test_peak_memory_is_known_and_bounded_by_the_card() -> None:
    stacks = [weight(f"{b}.experts", 128, 2880, 2880) for b in range(4)]
    specs = [
        layer(128 * b + e, of, Cut(expert=e)) for b, of in enumerate(stacks) for e in range(128)
    ]
    for memory_gb in (8, 16, 24, 40, 80):
        for section in plan_of(specs, memory_gb=memory_gb):
            assert section.device_bytes <= memory_gb * 1e9, memory_gb


def test_a_matrix_beyond_the_card_is_planned_for_the_processor() -> None:
    (section,) = plan_of([layer(0, weight("embedding", 500_000, 8192))], memory_gb=24)
    assert [batch.fits for batch in section.batches] == [False]


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 100))
def test_sections_are_neighbours_of_about_the_size_asked_for(sizes: list[int], most: int) -> None:
    cuts = list(sections(sizes, section_bytes=most))
    assert [n for first, last in cuts for n in range(first, last)] == list(range(len(sizes)))
    allowed = max(most, sum(sizes) // 64)
    assert all(last - first == 1 or sum(sizes[first:last]) <= allowed for first, last in cuts)
