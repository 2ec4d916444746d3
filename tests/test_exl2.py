"""EXL2 against the definition that its quantiser and its kernel share."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codes import (
    MANY,
    Quantised,
    assert_decodes,
    assert_is_noticed,
    damages,
    dense_words,
    reason,
)


def quantised(
    bits_and_rows: list[tuple[int, int]], num_out: int, *, with_bias: bool = False
) -> Quantised:
    """One group of inputs each, written as `AdaptiveGPTQ.pack` writes it; outputs padded to 32."""
    generator = torch.Generator().manual_seed(len(bits_and_rows))
    num_padded, num_in = -(-num_out // 32) * 32, sum(rows for _, rows in bits_and_rows)
    scales = torch.randint(1, 17, (len(bits_and_rows), num_out), generator=generator)
    largest = torch.rand(len(bits_and_rows), generator=generator).half() + 0.1
    words, groups, rows_of_codes = [], [], []
    for i, (bits, rows) in enumerate(bits_and_rows):
        codes = torch.full((rows, num_padded), 2 ** (bits - 1))
        codes[:, :num_out] = torch.randint(0, 2**bits, (rows, num_out), generator=generator)
        groups += [bits, sum(map(len, words))]
        words.append(dense_words(codes, bits))
        step = scales[i] ** 2 * (largest[i].float() / 256)
        rows_of_codes.append((codes[:, :num_out] - 2 ** (bits - 1)) * step)
    perm = torch.randperm(num_in, generator=generator)
    expected = torch.empty(num_in, num_out)
    expected[perm] = torch.cat(rows_of_codes)  # row k of the codes is input perm[k]
    padded = torch.nn.functional.pad(scales - 1, (0, num_padded - num_out), value=15)
    state = {
        "a.q_weight": torch.cat(words),
        "a.q_groups": torch.tensor(groups, dtype=torch.int16),
        "a.q_scale": dense_words(padded.T, 4).T.contiguous(),
        "a.q_scale_max": largest,
        "a.q_invperm": perm.argsort().int(),
        **({"a.bias": torch.zeros(num_out)} if with_bias else {}),
    }
    unused = ("a.bias",) if with_bias else ()
    return Quantised(state, expected.T, "exl2", unused=unused, rtol=1e-6)


@MANY
@given(st.data())
def test_codes_match_their_definition(data: st.DataObject) -> None:
    group = st.tuples(st.sampled_from([2, 3, 4, 5, 6, 8]), st.sampled_from([32, 64, 128]))
    groups = data.draw(st.lists(group, min_size=1, max_size=4))
    stored = quantised(groups, 32 * data.draw(st.integers(1, 2)))
    assert_decodes(stored)
    assert_is_noticed(data.draw(damages(stored)), stored)


def test_the_last_group_may_use_part_of_its_last_word() -> None:
    assert_decodes(quantised([(5, 32), (3, 20)], 32))


def test_padded_outputs_are_cut_where_a_bias_tells_and_refused_elsewhere() -> None:
    assert_decodes(quantised([(4, 32), (2, 64)], 50, with_bias=True))
    assert "nothing says how many there are" in reason(quantised([(4, 32), (2, 64)], 50))


def test_inputs_that_are_named_twice_are_a_reason() -> None:
    stored = quantised([(4, 32)], 32)
    twice = torch.zeros(32, dtype=torch.int32)
    assert "each row from 0 to 31 once" in reason(stored, {**stored.state, "a.q_invperm": twice})
