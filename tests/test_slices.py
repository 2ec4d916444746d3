"""Slices of one model for several devices are put together as they were cut, or refused in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from jobs.sources.folders import models_at
from jobs.units.bytes import byte_rows
from tests.test_states import Tensors, store
from zoo.errors import CheckpointError, MissingShardError
from zoo.formats.account import account
from zoo.io.checkpoint import Checkpoint
from zoo.io.local import LocalLocation
from zoo.io.opening import open_checkpoint
from zoo.measure.model import model_of
from zoo.options import LayerSelection

D, HEADS, INNER, WORDS = 16, 4, 24, 40
"""Width, heads, width of the MLP, entries of the vocabulary."""


def opened(folder: Path) -> Checkpoint:
    return open_checkpoint(LocalLocation.of(folder).open())


def some(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def llama(layers: int = 2) -> Tensors:
    """As Meta's releases name it."""
    state = {"tok_embeddings.weight": some(WORDS, D, seed=90), "norm.weight": torch.ones(D),
             "output.weight": some(WORDS, D, seed=91)}  # fmt: skip
    for i in range(layers):
        shapes = {
            "attention.wq": (D, D), "attention.wk": (8, D), "attention.wv": (8, D),
            "attention.wo": (D, D), "feed_forward.w1": (INNER, D),
            "feed_forward.w2": (D, INNER), "feed_forward.w3": (INNER, D),
        }  # fmt: skip
        for j, (name, shape) in enumerate(shapes.items()):
            state[f"layers.{i}.{name}.weight"] = some(*shape, seed=10 * i + j)
        state[f"layers.{i}.attention_norm.weight"] = torch.ones(D)
    return state


LLAMA_AXES = {
    "tok_embeddings": 1, "output": 0, "wq": 0, "wk": 0, "wv": 0, "wo": 1, "w1": 0, "w2": 1, "w3": 0,
}  # fmt: skip


def cut(state: Mapping[str, torch.Tensor], axes: Mapping[str, int], num: int) -> list[Tensors]:
    """`state` for `num` devices: each tensor along the axis of its module, others copied."""
    slices: list[Tensors] = [{} for _ in range(num)]
    for name, tensor in state.items():
        axis = axes.get(name.split(".")[-2])
        for i in range(num):
            slices[i][name] = tensor if axis is None else tensor.chunk(num, axis)[i].contiguous()
    return slices


def assert_whole(checkpoint: Checkpoint, state: Mapping[str, torch.Tensor]) -> None:
    fates = {entry.tensor: entry.reason or "" for entry in account(checkpoint).entries}
    measured = {n: m for n, m in checkpoint.tensors.items()
                if n not in checkpoint.set_aside and "training state" not in fates[n]}  # fmt: skip
    assert measured.keys() == state.keys()
    for name, tensor in state.items():
        assert measured[name].shape == tuple(tensor.shape), name
        assert torch.equal(checkpoint.read(name), tensor), name
        if len(tensor) > 3:
            assert torch.equal(checkpoint.read(name, (1, 3)), tensor[1:3]), name
            assert torch.equal(checkpoint.read(name, (2, len(tensor))), tensor[2:]), name


@pytest.mark.parametrize("num", [2, 4])
@pytest.mark.parametrize(
    "name",
    ["consolidated.{:02}.pth", "model{}-mp{n}.safetensors", "mp_rank_{:02}/model.safetensors",
     "tp_rank_{:02}/model_weights.ckpt", "tp_rank_{:02}_pp_rank_000/model_weights.ckpt",
     "model-tp{}-of-{n}.safetensors", "mp_rank_{:02}_model_states.pt", "rank{}.safetensors"],
)  # fmt: skip
def test_slices_of_each_tensor_are_put_together(name: str, num: int, tmp_path: Path) -> None:
    state = llama()
    for i, part in enumerate(cut(state, LLAMA_AXES, num)):
        store(tmp_path, name.format(i, n=num), part)
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, state)
        assert len(checkpoint.set_aside) == 3 * (num - 1)
        assert not checkpoint.left_out


def test_slices_that_metaseq_calls_parts_are_put_together(tmp_path: Path) -> None:
    block = "decoder.layers.0."
    state = {
        f"{block}self_attn.{leaf}_proj.weight": some(D, D, seed=i) for i, leaf in enumerate("qkv")
    }
    state |= {f"{block}self_attn.out_proj.weight": some(D, D, seed=5), f"{block}fc1.weight": some(INNER, D, seed=6),
              f"{block}fc2.weight": some(D, INNER, seed=7), "decoder.embed_tokens.weight": some(WORDS, D, seed=8),
              "decoder.embed_positions.weight": some(20, D, seed=9)}  # fmt: skip
    axes = {
        "q_proj": 0,
        "k_proj": 0,
        "v_proj": 0,
        "out_proj": 1,
        "fc1": 0,
        "fc2": 1,
        "embed_tokens": 0,
    }
    for i, part in enumerate(cut(state, axes, 2)):
        store(tmp_path, f"reshard-model_part-{i}.pt", {"model": part})
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, state)


def test_a_table_cut_by_entries_is_told_from_one_cut_by_width(tmp_path: Path) -> None:
    state = llama()
    for i, part in enumerate(cut(state, {**LLAMA_AXES, "tok_embeddings": 0}, 2)):
        store(tmp_path, f"consolidated.{i:02}.pth", part)
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, state)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_missing_slice_is_named(missing: int, tmp_path: Path) -> None:
    for i, part in enumerate(cut(llama(), LLAMA_AXES, 2)):
        if i != missing:
            store(tmp_path, f"model{i}-mp2.safetensors", part)
    with pytest.raises(MissingShardError, match=f"slice {missing} of 2 is not there"):
        opened(tmp_path)


def test_whole_copies_of_several_ranks_are_no_slices(tmp_path: Path) -> None:
    for i in range(2):
        store(tmp_path, f"rank{i}.safetensors", llama())
    with pytest.raises(CheckpointError, match=r"rank0.*rank1.*nothing tells slices from whole"):
        opened(tmp_path)


def test_a_configuration_tells_whole_copies_whatever_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"hidden_size": D, "num_attention_heads": HEADS})
    )
    for i in range(2):
        store(tmp_path, f"mp_rank_{i:02}/model.safetensors", llama())
    with pytest.raises(CheckpointError, match="nothing tells slices from whole copies"):
        opened(tmp_path)
    for i, part in enumerate(cut(llama(), LLAMA_AXES, 2)):
        store(tmp_path, f"mp_rank_{i:02}/model.safetensors", part)
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, llama())


@pytest.mark.parametrize("extra", ["layers.0.mystery.weight", "vision.proj_in.weight"])
def test_a_tensor_whose_axis_nobody_knows_is_named(extra: str, tmp_path: Path) -> None:
    for i, part in enumerate(cut(llama(), LLAMA_AXES, 2)):
        store(tmp_path, f"consolidated.{i:02}.pth", {**part, extra: some(8, D, seed=i)})
    with pytest.raises(CheckpointError, match=extra.replace(".", r"\.")):
        opened(tmp_path)


def megatron(layers: int, first: int = 0) -> Tensors:
    """As Megatron-LM names it: gated MLP, queries, keys and values in one."""
    state: Tensors = {}
    for i in range(layers):
        b, s = f"decoder.layers.{i}.", 100 * (first + i)
        state |= {
            f"{b}self_attention.linear_qkv.weight": some(3 * D, D, seed=s),
            f"{b}self_attention.linear_qkv.bias": some(3 * D, seed=s + 1),
            f"{b}self_attention.linear_qkv.layer_norm_weight": torch.ones(D),
            f"{b}self_attention.linear_proj.weight": some(D, D, seed=s + 2),
            f"{b}mlp.linear_fc1.weight": some(2 * INNER, D, seed=s + 3),
            f"{b}mlp.linear_fc2.weight": some(D, INNER, seed=s + 4),
        }
    return state


def cut_gated(state: Mapping[str, torch.Tensor], num: int) -> list[Tensors]:
    """As `cut`, where the rows of each device are its gate and then its values."""
    axes = {"linear_qkv": 0, "linear_proj": 1, "linear_fc2": 1, "word_embeddings": 0}
    bare = {n: t for n, t in state.items() if "layer_norm" not in n}
    slices = cut(bare, axes, num)
    for name, tensor in state.items():
        for i in range(num):
            if "layer_norm" in name:
                slices[i][name] = tensor
            if "linear_fc1" in name:
                slices[i][name] = torch.cat([half.chunk(num)[i] for half in tensor.chunk(2)])
    return slices


@pytest.mark.parametrize("num", [1, 2])
def test_stages_of_a_pipeline_are_numbered_through(num: int, tmp_path: Path) -> None:
    embedding = {"embedding.word_embeddings.weight": some(WORDS, D, seed=7)}
    stages = [{**embedding, **megatron(2)}, {**megatron(1, first=2), **embedding}]
    for pipeline, stage in enumerate(stages):
        for tensor, part in enumerate(cut_gated(stage, num)):
            folder = f"iter_0000010/mp_rank_{tensor:02}_{pipeline:03}"
            optimizer = {"state": {0: {"exp_avg": some(4, 4 + tensor, seed=1)}}}
            file = f"{folder}/model_optim_rng.pt"
            store(tmp_path, file, {"model": part, "optimizer": optimizer})
    with opened(tmp_path) as checkpoint:
        whole = {f"iter_0000010.{n}": t for n, t in {**embedding, **megatron(3)}.items()}
        assert_whole(checkpoint, whole)


def test_files_of_single_layers_are_one_model(tmp_path: Path) -> None:
    state = {n.removeprefix("decoder.layers.0."): t for n, t in megatron(1).items()}
    for layer in (2, 3):
        for tensor, part in enumerate(cut_gated(state, 2)):
            store(tmp_path, f"layer_{layer:02}-model_{tensor:02}-model_states.pt", part)
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, {f"layers.{i}.{n}": t for i in (2, 3) for n, t in state.items()})


@pytest.mark.parametrize(
    "file", ["mp_rank_00_000_001/model_optim_rng.pt", "mp_rank_02_000/model_optim_rng.pt"]
)
def test_experts_of_several_devices_and_gaps_are_refused(file: str, tmp_path: Path) -> None:
    store(tmp_path, "mp_rank_00_000_000/model_optim_rng.pt", megatron(1))
    store(tmp_path, file, megatron(1))
    with pytest.raises(CheckpointError, match=file):
        opened(tmp_path)


def test_gate_and_up_and_queries_keys_and_values_of_each_device_are_sorted(tmp_path: Path) -> None:
    q, k, v = (some(rows, D, seed=i) for i, rows in enumerate((D, 8, 8)))
    gate, up = some(INNER, D, seed=3), some(INNER, D, seed=4)
    block = "model.layers.0."
    state = {
        f"{block}self_attn.qkv_proj.weight": torch.cat([q, k, v]),
        f"{block}self_attn.o_proj.weight": some(D, D, seed=5),
        f"{block}mlp.gate_up_proj.weight": torch.cat([gate, up]),
        f"{block}mlp.down_proj.weight": some(D, INNER, seed=6),
    }
    for i, part in enumerate(cut(state, {"o_proj": 1, "down_proj": 1}, 2)):
        part[f"{block}self_attn.qkv_proj.weight"] = torch.cat([t.chunk(2)[i] for t in (q, k, v)])
        part[f"{block}mlp.gate_up_proj.weight"] = torch.cat([t.chunk(2)[i] for t in (gate, up)])
        store(tmp_path, f"model-rank-{i}-part-0.safetensors", part)
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, state)


def test_latent_attention_and_experts_are_put_together_as_deepseek_cuts_them(
    tmp_path: Path,
) -> None:
    block = "layers.3."
    state = {
        f"{block}attn.wq_a.weight": some(12, D, seed=1), f"{block}attn.wq_b.weight": some(24, 12, seed=2),
        f"{block}attn.wkv_a.weight": some(10, D, seed=3), f"{block}attn.wkv_b.weight": some(32, 8, seed=4),
        f"{block}attn.wo.weight": some(D, 16, seed=5), f"{block}ffn.gate.weight": some(4, D, seed=6),
        f"{block}ffn.shared_experts.w1.weight": some(INNER, D, seed=7),
        f"{block}ffn.shared_experts.w2.weight": some(D, INNER, seed=8),
        "embed.weight": some(WORDS, D, seed=9), "head.weight": some(WORDS, D, seed=10),
    }  # fmt: skip
    axes = {"wq_b": 0, "wkv_b": 0, "wo": 1, "w1": 0, "w2": 1, "embed": 0, "head": 0}
    experts = {f"{block}ffn.experts.{e}.w1.weight": some(INNER, D, seed=20 + e) for e in range(4)}
    for i, part in enumerate(cut(state, axes, 2)):
        ours = dict(list(experts.items())[2 * i : 2 * i + 2])
        store(tmp_path, f"model{i}-mp2.safetensors", part | ours)
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, state | experts)


def test_floats_of_8_bits_are_put_together_with_their_grids_of_scales(tmp_path: Path) -> None:
    state: Tensors = {}
    for i, name in enumerate(("wq", "wo")):
        state[f"layers.0.attn.{name}.weight"] = some(256, 256, seed=i).to(torch.float8_e4m3fn)
        state[f"layers.0.attn.{name}.scale"] = some(2, 2, seed=10 + i).abs()
    for i, part in enumerate(cut(state, {"wq": 0, "wo": 1}, 2)):
        store(tmp_path, f"model{i}-mp2.safetensors", part)
    quantised = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": quantised}))
    with opened(tmp_path) as checkpoint:
        for name in ("wq", "wo"):
            (weight,) = (w for w in account(checkpoint).weights if f".{name}." in w.name)
            grid = state[f"layers.0.attn.{name}.scale"].repeat_interleave(128, 0)
            whole = state[f"layers.0.attn.{name}.weight"].float() * grid.repeat_interleave(128, 1)
            assert torch.equal(weight.load(checkpoint), whole)


def test_codes_with_one_scale_a_slice_are_refused(tmp_path: Path) -> None:
    for i in range(2):
        part = {"a.wq.weight": some(8, D, seed=i).to(torch.float8_e4m3fn), "a.wo.weight": some(D, 8, seed=i),
                "a.wq.scale": torch.tensor(2.0 + i)}  # fmt: skip
        store(tmp_path, f"model{i}-mp2.safetensors", part)
    with pytest.raises(CheckpointError, match=r"a\.wq\.weight"):
        opened(tmp_path)


def nanotron(folder: Path, state: Mapping[str, tuple[torch.Tensor, int | None]], num: int) -> None:
    """`state` (tensor and axis by name) as nanotron stores it."""
    for name, (tensor, axis) in state.items():
        *path, leaf = name.split(".")
        place = "/".join(["model", *path, f"model_{leaf}"])
        if axis is None:
            store_with(folder / f"{place}.safetensors", tensor, {})
            continue
        rows = tensor.shape[axis] // num
        for i in range(num):
            part = tensor.narrow(axis, i * rows, rows).contiguous()
            local = "|".join(["None,None,None"] * tensor.ndim)
            where = ["None,None,None"] * tensor.ndim
            where[axis] = f"{i * rows},{(i + 1) * rows},None"
            header = {"version": "1.4", "unsharded_shape": str(tuple(tensor.shape)),
                      "local_global_slices_pairs": f"{local}#{'|'.join(where)}"}  # fmt: skip
            file = f"{place}_pp-rank-0-of-1_tp-rank-{i}-of-{num}.safetensors"
            store_with(folder / file, part, header)


def store_with(file: Path, tensor: torch.Tensor, header: dict[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"data": tensor}, file, metadata=header)


NANOTRON = {
    "model.decoder.0.pp_block.attn.qkv_proj.weight": (some(3 * D, D, seed=1), 0),
    "model.decoder.0.pp_block.attn.o_proj.weight": (some(D, D, seed=2), 1),
    "model.decoder.0.pp_block.mlp.down_proj.weight": (some(D, INNER, seed=3), 1),
    "model.final_layer_norm.pp_block.weight": (torch.ones(D), None),
}


@pytest.mark.parametrize("num", [1, 2])
def test_nanotron_says_where_each_slice_belongs(num: int, tmp_path: Path) -> None:
    nanotron(tmp_path, NANOTRON, num)
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, {name: tensor for name, (tensor, _) in NANOTRON.items()})


def test_of_two_steps_of_nanotron_the_last_is_read(tmp_path: Path) -> None:
    for step in (100, 200):
        nanotron(tmp_path / str(step), NANOTRON, 2)
    with opened(tmp_path) as checkpoint:
        assert_whole(checkpoint, {f"200.{name}": tensor for name, (tensor, _) in NANOTRON.items()})
        assert {left.file.partition("/")[0] for left in checkpoint.left_out} == {"100"}


@pytest.mark.parametrize("is_lost", [True, False])
def test_slices_of_nanotron_that_do_not_make_a_whole_are_named(
    is_lost: bool, tmp_path: Path
) -> None:
    nanotron(tmp_path, NANOTRON, 2)
    file = next(tmp_path.rglob("qkv_proj/*tp-rank-1*"))
    if is_lost:
        file.unlink()
    else:
        store_with(file, some(D, D, seed=3), {})
    with pytest.raises(CheckpointError, match=r"qkv_proj"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("pairs", "shape"),
    [
        ("0,8,None|None,None,None#0,8,None", "(8,)"),
        ("9,5,None#9,5,None", "(48, 16)"),
        ("None,None,2#None,None,2", "(48, 16)"),
        ("None,None,None#0,999999999999,None", "(999999999999, 16)"),
        ("x#y", "(48, 16)"),
        ("None,None,None|0,8,None#0,24,None|0,8,None", "(48, 16)"),
        ("None,None,None#None,None,None", ""),
    ],
)
def test_headers_that_lie_about_slices_are_refused(pairs: str, shape: str, tmp_path: Path) -> None:
    for i in range(2):
        file = (
            tmp_path
            / f"model/attn/qkv_proj/model_weight_pp-rank-0-of-1_tp-rank-{i}-of-2.safetensors"
        )
        header = {"local_global_slices_pairs": pairs, "unsharded_shape": shape}
        store_with(file, some(24, D, seed=i), header)
    with pytest.raises(CheckpointError, match="qkv_proj"):
        opened(tmp_path)


def test_the_account_of_slices_adds_up_to_the_bytes_of_the_files(tmp_path: Path) -> None:
    for i, part in enumerate(cut(llama(), LLAMA_AXES, 2)):
        store(tmp_path, f"model{i}-mp2.safetensors", part)
    with opened(tmp_path) as checkpoint:
        model = model_of(checkpoint, LayerSelection(), revision="x")
        rows = byte_rows(model.accounts, model.left_out, model.files)
    assert sum(row.nbytes for row in rows) == sum(f.stat().st_size for f in tmp_path.iterdir())
    assert model.num_params == sum(t.numel() for t in llama().values())


@pytest.mark.parametrize("name", ["shard_{}", "model.{:02}", "part/rank{}"])
def test_files_of_whole_tensors_under_such_names_are_one_model(name: str, tmp_path: Path) -> None:
    state = llama()
    names = list(state)
    for i in range(2):
        part = {key: state[key] for key in names[i::2]}
        store(tmp_path, f"{name.format(i)}.safetensors", part)
    with opened(tmp_path) as checkpoint:
        prefix = "part." if "/" in name else ""
        assert_whole(checkpoint, {prefix + key: tensor for key, tensor in state.items()})


def test_a_slice_given_alone_names_the_folder_of_all(tmp_path: Path) -> None:
    for i, part in enumerate(cut(llama(), LLAMA_AXES, 2)):
        store(tmp_path, f"files/consolidated.{i:02}.pth", part)
        store(tmp_path, f"folders/mp_rank_{i:02}/model.pt", part)
    for alone in ("files/consolidated.00.pth", "folders/mp_rank_00"):
        with pytest.raises(CheckpointError, match=rf"one slice of a model.*{alone[:5]}"):
            opened(tmp_path / alone)


def test_a_folder_of_slices_is_one_model_of_a_tree(tmp_path: Path) -> None:
    for step in (100, 200):
        for i, part in enumerate(cut(llama(), LLAMA_AXES, 2)):
            store(tmp_path, f"megatron/iter_{step}/mp_rank_{i:02}/model.pt", part)
        nanotron(tmp_path / f"nanotron/{step}", NANOTRON, 2)
        (tmp_path / f"nanotron/{step}/checkpoint_metadata.json").write_text("{}")
    models = models_at([tmp_path], lambda text: None)
    names = {str(model.relative_to(tmp_path)) for model in models}
    assert names == {"megatron/iter_100", "megatron/iter_200", "nanotron/100", "nanotron/200"}
