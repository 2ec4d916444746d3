"""W − W_base: what a fine-tune changed, against the difference written out in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import zoo
from zoo.errors import CheckpointError, UseError
from zoo.io.local import LocalLocation
from zoo.io.paired import PairedLocation
from zoo.io.store import reading
from zoo.measure import model as measuring
from zoo.measure import pieces as pieces_module
from zoo.measure.model import open_model
from zoo.measure.pieces import pieces_of
from zoo.options import AnalysisOptions, LayerSelection
from zoo.spectral.tails import TailFit, fit_tail

Q = "model.layers.0.self_attn.q_proj.weight"
Tensors = Mapping[str, torch.Tensor]


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def heavy(rows: int, cols: int, seed: int = 0) -> torch.Tensor:
    """Rows of many sizes, so that there is a tail to be fitted."""
    sizes = torch.linspace(0.0, 3.0, rows).exp()
    return normal(rows, cols, seed=seed) * sizes[:, None]


def put(folder: Path, tensors: Tensors, **config: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    return folder


def deltas(own: Any, base: Any, **options: Any) -> dict[str, dict[str, Any]]:
    """Rows of W − W_base by tensor (and part)."""
    report = zoo.analyze(own, base=base, options=AnalysisOptions(**options))
    return {f"{row['tensor']}{row['part'] or ''}": row for row in report.deltas}


def squares(matrix: torch.Tensor) -> np.ndarray:
    return np.sort(np.linalg.svd(matrix.double().numpy(), compute_uv=False) ** 2)


@pytest.mark.parametrize("own", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("theirs", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_the_numbers_are_those_of_the_difference_in_float64(
    own: torch.dtype, theirs: torch.dtype
) -> None:
    base = normal(96, 64, scale=0.1).to(theirs)
    tuned = (base.double() + 0.01 * heavy(96, 64, seed=1)).to(own)
    row = deltas({Q: tuned}, {Q: base})[Q]
    apart = tuned.double() - base.double()
    evals = squares(apart)
    assert row["status"] == "ok"
    assert row["lambda_max"] == pytest.approx(evals[-1], rel=1e-6)
    assert row["frobenius_norm_sq"] == pytest.approx(evals.sum(), rel=1e-6)
    assert row["weight_mean"] == pytest.approx(float(apart.mean()), rel=1e-6)
    tail = fit_tail(evals[evals > (row["delta_noise_edge"] or 0.0)], m=64, storage_bits=32)
    assert isinstance(tail, TailFit)
    assert row["alpha"] == pytest.approx(tail.alpha, rel=1e-5)
    assert row["delta_relative"] == pytest.approx(float(apart.norm() / base.double().norm()))
    assert row["delta_changed"] == float((apart != 0).double().mean())


def test_the_rows_of_the_model_itself_do_not_move() -> None:
    base, tuned = {Q: normal(60, 40)}, {Q: normal(60, 40) + normal(60, 40, seed=1) * 0.1}
    clocks = ("read_s", "spectrum_s", "shuffle_s", "total_s")
    alone, beside = zoo.analyze(tuned), zoo.analyze(tuned, base=base)
    assert [{**row, **dict.fromkeys(clocks)} for row in beside.layers] == [
        {**row, **dict.fromkeys(clocks)} for row in alone.layers
    ]
    assert (beside.num_traps, alone.deltas) == (alone.num_traps, [])


def test_equal_tensors_have_a_row_that_says_so_and_no_numbers() -> None:
    base = {Q: normal(40, 30), "lm_head.weight": normal(50, 30, seed=1)}
    rows = deltas({**base, Q: base[Q] + 1e-3}, base)
    frozen = rows["lm_head.weight"]
    assert (frozen["status"], frozen["reason"]) == ("skipped", "equal to the base")
    named = ("delta_base", "delta_base_tensor", "delta_base_dtype")
    shape = ("num_rows", "num_cols", "n", "m", "q", "receptive_field", "num_evals", "num_params")
    others = {k: v for k, v in frozen.items() if isinstance(v, float) and k not in (*shape, *named)}
    assert set(others) <= {"read_s", "total_s"}
    assert rows[Q]["status"] == "ok"


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ({Q: (40, 30), "lm_head.weight": (49, 30)}, "other_shape: [50, 30], in the base [49, 30]"),
        ({Q: (40, 30)}, "not_in_base: the base has no such tensor"),
    ],
)
def test_what_cannot_be_compared_is_named(base: dict[str, tuple[int, int]], reason: str) -> None:
    own = {Q: normal(40, 30), "lm_head.weight": normal(50, 30, seed=1)}
    row = deltas(own, {n: normal(*shape, seed=5) for n, shape in base.items()})["lm_head.weight"]
    assert (row["status"], row["reason"], row["alpha"]) == ("skipped", reason, None)


def test_a_base_without_any_of_the_tensors_is_a_failure_with_words() -> None:
    with pytest.raises(CheckpointError, match=r"none of 1 layers can be compared .* trained from"):
        deltas({Q: normal(40, 30)}, {"conv.weight": normal(8, 4, 3, 3)})


@pytest.mark.parametrize(
    ("strip", "add"), [("model.", ""), ("", "language_model."), ("model.", "transformer.")]
)
def test_another_prefix_is_looked_through(strip: str, add: str) -> None:
    own = {Q: normal(40, 30), Q.replace("q_", "k_"): normal(20, 30, seed=1)}
    base = {add + name.removeprefix(strip): t + 0.01 for name, t in own.items()}
    rows = deltas(own, base)
    assert rows[Q]["delta_base_tensor"] == add + Q.removeprefix(strip)
    assert rows[Q]["weight_mean"] == pytest.approx(-0.01, rel=1e-4)


def test_a_base_in_pieces_of_another_container_and_type(tmp_path: Path) -> None:
    base = {Q: normal(40, 30), "lm_head.weight": normal(50, 30, seed=1)}
    tuned = {name: (t + 0.01 * normal(*t.shape, seed=2)).bfloat16() for name, t in base.items()}
    folder = tmp_path / "base"
    folder.mkdir()
    shards = {name: f"pytorch_model-0000{i}-of-00002.bin" for i, name in enumerate(base, start=1)}
    for name, shard in shards.items():
        torch.save({name: base[name]}, folder / shard)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": shards}))
    rows = deltas(put(tmp_path / "tuned", tuned), folder)
    for name, row in rows.items():
        norm = float((tuned[name].double() - base[name].double()).square().sum())
        assert row["frobenius_norm_sq"] == pytest.approx(norm, rel=1e-6)
        assert (row["stored_dtype"], row["delta_base_dtype"]) == ("BF16", "F32")


def test_codes_are_decoded_and_their_rounding_is_not_guessed(tmp_path: Path) -> None:
    codes = normal(40, 30).to(torch.float8_e4m3fn)
    base = put(tmp_path / "base", {Q: codes, f"{Q}_scale": torch.tensor([0.5])})
    tuned = 0.5 * codes.float() + 0.01 * normal(40, 30, seed=1)
    row = deltas(put(tmp_path / "tuned", {Q: tuned}), base)[Q]
    expected = float((tuned.double() - 0.5 * codes.double()).square().sum())
    assert row["frobenius_norm_sq"] == pytest.approx(expected, rel=1e-6)
    assert (row["is_dequantised"], row["delta_noise_share"], row["delta_noise_edge"]) == (
        True, None, None,
    )  # fmt: skip


CONFIG = {"model_type": "phi3", "hidden_size": 32, "num_attention_heads": 4}


def fused(shuffle: bool = False) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same attention in three tensors and in one, a little apart."""
    stem = "model.layers.0.self_attn"
    parts = [normal(32, 32, seed=s) for s in range(3)]
    own = {f"{stem}.{n}_proj.weight": t for n, t in zip("qkv", parts, strict=True)}
    moved = [t + 0.01 * normal(32, 32, seed=9) for t in parts]
    if shuffle:
        moved[0] = moved[0].flip(0)
    whole = {f"{stem}.qkv_proj.weight": torch.cat(moved)}
    return own, whole


def test_parts_are_compared_where_only_one_of_the_two_is_fused(tmp_path: Path) -> None:
    own, whole = fused()
    base, tuned = put(tmp_path / "fused", whole, **CONFIG), put(tmp_path / "apart", own)
    for rows in (deltas(tuned, base), deltas(base, tuned)):
        norms = [row["frobenius_norm_sq"] for row in rows.values()]
        assert norms == pytest.approx(
            [float((0.01 * normal(32, 32, seed=9)).double().square().sum())] * 3, rel=1e-4
        )


def test_a_partner_by_place_whose_rows_lie_in_another_order_is_refused(tmp_path: Path) -> None:
    own, whole = fused(shuffle=True)
    rows = deltas(put(tmp_path / "apart", own), put(tmp_path / "fused", whole, **CONFIG))
    wrong = rows[Q]
    assert wrong["status"] == "failed"
    assert "its rows may be in another order" in wrong["reason"]


@pytest.mark.parametrize("kind", ["split", "whole", "both"])
def test_every_part_of_a_fused_tensor_is_subtracted_once(tmp_path: Path, kind: Any) -> None:
    _, base = fused()
    ((name, before),) = base.items()
    after = before + 0.01 * normal(96, 32, seed=4)
    report = zoo.analyze(
        put(tmp_path / "tuned", {name: after}, **CONFIG),
        base=put(tmp_path / "base", base, **CONFIG),
        selection=LayerSelection(fused=kind),
    )
    apart = (after.double() - before.double()).square()
    expected = {None: apart.sum(), "q": apart[:32].sum(), "k": apart[32:64].sum(),
                "v": apart[64:].sum()}  # fmt: skip
    for row in report.deltas:
        norm = row["frobenius_norm_sq"]
        assert norm == pytest.approx(float(expected[row["part"]]), rel=1e-5)  # type: ignore[index]


def test_a_large_stack_is_compared_expert_by_expert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "model.layers.0.mlp.experts.down_proj"
    config = {"model_type": "gpt_oss", "num_local_experts": 3}
    before = normal(3, 24, 16)
    after = before + 0.01 * normal(3, 24, 16, seed=1)
    base, tuned = (
        put(tmp_path / n, {name: t}, **config) for n, t in (("base", before), ("tuned", after))
    )
    monkeypatch.setattr(pieces_module, "_WHOLE_BYTES", 0)
    report = zoo.analyze(tuned, base=base)
    assert [row["expert"] for row in report.deltas] == [0, 1, 2]
    expected = (after.double() - before.double()).square().sum((1, 2))
    norms = [row["frobenius_norm_sq"] for row in report.deltas]
    assert norms == pytest.approx(expected.tolist(), rel=1e-5)
    assert {row["bytes_read"] for row in report.deltas} == {24 * 16 * 4}


def test_a_merged_lora_is_told_from_the_rounding_of_its_storage() -> None:
    """The rank is what lies above the edge of the rounding, whose share is estimated well."""
    base = normal(256, 192, scale=0.02).bfloat16()
    update = normal(256, 6, seed=1) @ normal(6, 192, seed=2) * 4e-4
    exact = base.double() + update.double()
    tuned = exact.bfloat16()
    row = deltas({Q: tuned}, {Q: base})[Q]
    noise = float((tuned.double() - exact).square().sum())
    whole = float((tuned.double() - base.double()).square().sum())
    assert row["delta_noise_share"] == pytest.approx(noise / whole, rel=0.05)
    assert row["delta_num_above_noise"] == 6
    assert (row["alpha"], row["tail_status"]) == (None, "too_few")
    assert row["reason"].startswith("too_few: 6 of 192 eigenvalues are above what rounding makes")


def test_the_edge_of_rounding_holds_for_rounding_alone() -> None:
    """Base and fine-tune differ by nothing but their rounding: no eigenvalue is above it."""
    exact = normal(300, 200, scale=0.02)
    row = deltas({Q: exact.half()}, {Q: exact})[Q]
    assert row["delta_noise_share"] == pytest.approx(1.0, rel=0.03)
    assert row["delta_num_above_noise"] == 0
    assert row["lambda_max"] == pytest.approx(row["delta_noise_edge"], rel=0.1)


def test_a_tail_that_rounding_has_moved_says_so() -> None:
    base = normal(128, 96, scale=0.02).bfloat16()
    update = heavy(128, 96, seed=1)
    for scale, remark in ((1e-4, True), (1e-2, False)):
        change = update / update.square().mean().sqrt() * scale
        row = deltas({Q: (base.float() + change).bfloat16()}, {Q: base})[Q]
        assert (row["delta_noise_share"] >= 0.1) is remark
        assert ("alpha is too large" in (row["reason"] or "")) is remark


def test_a_difference_below_the_resolution_is_called_so() -> None:
    """Updates of a quarter of a unit in the last place leave nothing but leaps of rounding."""
    base = normal(128, 96, scale=0.02).bfloat16()
    tuned = (base.double() + normal(128, 96, seed=1) * base.double().abs() * 1.2e-3).bfloat16()
    row = deltas({Q: tuned}, {Q: base})[Q]
    assert row["delta_noise_share"] > 1.0
    assert row["delta_changed"] < 0.2


def test_rows_that_were_never_touched_bring_no_rounding() -> None:
    base = normal(400, 32).bfloat16()
    tuned = base.clone()
    tuned[:40] += 0.1 * normal(40, 32, seed=1).bfloat16()
    all_rows = deltas({Q: tuned[:40]}, {Q: base[:40]})[Q]
    row = deltas({Q: tuned}, {Q: base})[Q]
    assert row["delta_noise_share"] == pytest.approx(all_rows["delta_noise_share"], rel=1e-12)


def test_float32_that_holds_bfloat16_is_rounded_as_that() -> None:
    base = normal(64, 48).bfloat16()
    tuned = (base + 0.1 * normal(64, 48, seed=1)).bfloat16()
    narrow, wide = (deltas({Q: t}, {Q: base})[Q] for t in (tuned, tuned.float()))
    assert wide["delta_noise_share"] == narrow["delta_noise_share"]
    finer = deltas({Q: tuned.float() * (1 + 2**-20)}, {Q: base})[Q]
    assert finer["delta_noise_share"] < 1e-6 * narrow["delta_noise_share"]


def test_a_tied_head_is_compared_once(tmp_path: Path) -> None:
    embedding = normal(90, 24)
    base = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.clone()}
    tuned = {name: t + 0.01 for name, t in base.items()}
    report = zoo.analyze(put(tmp_path / "tuned", tuned), base=put(tmp_path / "base", base))
    rows = {row["tensor"]: row for row in report.deltas}
    head = rows["lm_head.weight"]
    assert (head["status"], head["tied_to"]) == ("skipped", "model.embed_tokens.weight")
    assert rows["model.embed_tokens.weight"]["status"] == "ok"


def test_a_head_of_its_own_is_compared_with_the_embedding_the_base_ties_it_to(
    tmp_path: Path,
) -> None:
    embedding = normal(90, 24)
    base = put(tmp_path / "b", {"model.embed_tokens.weight": embedding}, tie_word_embeddings=True)
    own = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding + 0.01}
    row = deltas(put(tmp_path / "t", own, tie_word_embeddings=False), base)["lm_head.weight"]
    assert row["delta_base_tensor"] == "model.embed_tokens.weight"
    assert row["weight_mean"] == pytest.approx(0.01, rel=1e-3)


def test_nan_on_either_side_fails_the_row_alone() -> None:
    base, broken = {Q: normal(30, 20)}, normal(30, 20, seed=1)
    broken[1, 2] = torch.nan
    for own, other in (({Q: broken}, base), (base, {Q: broken})):
        row = deltas(own, other)[Q]
        assert (row["status"], row["reason"]) == ("failed", "non_finite: 1 of 600 entries")
        assert row["delta_relative"] is None


def test_the_update_of_an_adapter_is_a_difference_already(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"r": 4, "lora_alpha": 8, "modules_to_save": ["lm_head"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    stem = "base_model.model.h.0.attn.q_proj"
    head = normal(50, 16, seed=3)
    save_file(
        {f"{stem}.lora_A.weight": normal(4, 16), f"{stem}.lora_B.weight": normal(24, 4),
         "base_model.model.lm_head.weight": head + 0.01},
        folder / "adapter_model.safetensors",
    )  # fmt: skip
    base = {"h.0.attn.q_proj.weight": normal(24, 16), "lm_head.weight": head}
    rows = deltas(folder, put(tmp_path / "base", base))
    assert rows[f"{stem}.lora"]["reason"] == "an adapter's update is a difference already"
    assert rows["base_model.model.lm_head.weight"]["weight_mean"] == pytest.approx(0.01, rel=1e-3)


def test_deltas_without_a_base_are_bad_use() -> None:
    with pytest.raises(UseError, match="without a base"):
        zoo.analyze({Q: normal(30, 20)}, selection=LayerSelection(deltas=True))
    with pytest.raises(UseError, match="wanted adapters = 'delta'"):
        LayerSelection(deltas=True, adapters="merged")


def test_each_byte_of_both_is_read_once(tmp_path: Path) -> None:
    base = {f"layers.{i}.weight": normal(300, 200, seed=i) for i in range(4)}
    put(tmp_path / "base", base)
    put(tmp_path / "tuned", {name: t + 0.01 for name, t in base.items()})
    where = PairedLocation(*(LocalLocation.of(tmp_path / name) for name in ("tuned", "base")))
    with reading(where) as store:
        model = open_model(store, LayerSelection(deltas=True))
        headers = store.counters.bytes_read
        reports = list(measuring.measure(model, AnalysisOptions(metrics="tail")))
        read = store.counters.bytes_read - headers
    planned = sum(pieces.nbytes for pieces in pieces_of(model.specs))
    assert read == planned == 2 * 4 * 300 * 200 * 4
    assert read == sum(report.row.reading.bytes_read for report in reports)


def test_a_model_of_another_origin_is_measured_and_the_row_says_so() -> None:
    row = deltas({Q: normal(60, 40)}, {Q: normal(60, 40, seed=1)})[Q]
    assert row["status"] == "ok" and row["alpha"] is not None
    assert row["delta_relative"] == pytest.approx(2**0.5, rel=0.05)
    assert row["reason"].startswith("far: the difference has 1.")


def test_weights_in_groups_give_the_rows_of_all(tmp_path: Path) -> None:
    """As the tasks of a large unit do, on as many workers."""
    base = {f"layers.{i}.weight": normal(40, 30, seed=i) for i in range(3)}
    tuned = {name: t + 0.1 * normal(40, 30, seed=9) for name, t in base.items()}
    put(tmp_path / "base", {**base, "layers.2.weight": tuned["layers.2.weight"]})
    put(tmp_path / "tuned", {**tuned, "layers.3.weight": normal(20, 10)})
    where = PairedLocation(*(LocalLocation.of(tmp_path / name) for name in ("tuned", "base")))

    def measured(*groups: tuple[str, ...] | None) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for number, names in enumerate(groups):
            with reading(where) as store:
                model = open_model(store, LayerSelection(deltas=True))
                reports = measuring.measure(
                    model, AnalysisOptions(), weights=names, first=number == 0
                )
                for report in reports:
                    c = report.columns
                    rows.append((c["layer_index"], c["status"], c["reason"], c["alpha"]))
        return sorted(rows)

    first, second = ("layers.0.weight", "layers.2.weight"), ("layers.1.weight", "layers.3.weight")
    assert measured(first, second) == measured(None)
    assert len(measured(None)) == 8


def test_gguf_as_base_is_compared_by_place_and_its_permuted_rows_are_refused(
    tmp_path: Path,
) -> None:
    gguf = pytest.importorskip("gguf")
    shapes = {"self_attn.q_proj": ("attn_q", 32, 32), "mlp.up_proj": ("ffn_up", 64, 32)}
    base = {name: normal(*shape, seed=3) for name, (_, *shape) in shapes.items()}
    writer = gguf.GGUFWriter(tmp_path / "base.gguf", "llama")
    writer.add_head_count(4)
    writer.add_embedding_length(32)
    for name, (theirs, rows, cols) in shapes.items():
        values = base[name].numpy()
        if theirs == "attn_q":  # as llama.cpp stores it
            values = values.reshape(4, 2, rows // 8, cols).swapaxes(1, 2).reshape(rows, cols)
        writer.add_tensor(f"blk.0.{theirs}.weight", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tuned = {f"model.layers.0.{n}.weight": t + 0.01 for n, t in base.items()}
    config = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4}
    rows_of = deltas(put(tmp_path / "tuned", tuned, **config), tmp_path / "base.gguf")
    query, up = rows_of[Q], rows_of["model.layers.0.mlp.up_proj.weight"]
    assert query["status"] == "failed" and "rows may be in another order" in query["reason"]
    assert up["weight_mean"] == pytest.approx(0.01, rel=1e-4)
    assert up["delta_base_tensor"] == "blk.0.ffn_up.weight"
