"""Repositories that have a real model's tensor names, shapes, formats and shards, and no values: files with holes."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Final

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Type and shape of each tensor by name."""
_BYTES: Final = {"BF16": 2, "F16": 2, "F32": 4, "U8": 1}


def put(folder: Path, config: Mapping[str, object], tensors: Tensors, *, shards: int = 1) -> Path:
    """Write the headers of `tensors` into so many safetensors files, with an index where there are several."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    each = -(-len(tensors) // shards)
    names = list(tensors)
    index: dict[str, str] = {}
    for number in range(shards):
        mine = names[number * each : (number + 1) * each]
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        file = "model.safetensors" if shards == 1 else file
        _hollow(folder / file, {name: tensors[name] for name in mine})
        index |= dict.fromkeys(mine, file)
    if shards > 1:
        text = json.dumps({"metadata": {}, "weight_map": index})
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    return folder


def _hollow(path: Path, tensors: Tensors) -> None:
    """A safetensors file whose values are one hole: it takes no room, and is never read here."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in tensors.items():
        nbytes = prod(shape) * _BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + nbytes]}
        at += nbytes
    raw = json.dumps(header).encode()
    raw = raw.ljust(-(-len(raw) // 8) * 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + at)


def gpt_oss(experts: int, layers: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """20b: 32 experts, 24 layers; 120b: 128 and 36."""
    hidden, words = 2880, 1000  # of 201,088
    tensors = {
        name: ("BF16", (words, hidden)) for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    for block in range(layers):
        stem = f"model.layers.{block}"
        for part, out in (("q", 4096), ("k", 512), ("v", 512)):
            tensors[f"{stem}.self_attn.{part}_proj.weight"] = ("BF16", (out, hidden))
            tensors[f"{stem}.self_attn.{part}_proj.bias"] = ("BF16", (out,))
        tensors[f"{stem}.self_attn.o_proj.weight"] = ("BF16", (hidden, 4096))
        tensors[f"{stem}.self_attn.o_proj.bias"] = ("BF16", (hidden,))
        tensors[f"{stem}.self_attn.sinks"] = ("BF16", (64,))
        tensors[f"{stem}.mlp.router.weight"] = ("BF16", (experts, hidden))
        tensors[f"{stem}.mlp.router.bias"] = ("BF16", (experts,))
        for name, rows in (("gate_up_proj", 2 * hidden), ("down_proj", hidden)):
            tensors[f"{stem}.mlp.experts.{name}_blocks"] = ("U8", (experts, rows, hidden // 32, 16))
            tensors[f"{stem}.mlp.experts.{name}_scales"] = ("U8", (experts, rows, hidden // 32))
            tensors[f"{stem}.mlp.experts.{name}_bias"] = ("BF16", (experts, rows))
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{stem}.{norm}.weight"] = ("BF16", (hidden,))
    tensors["model.norm.weight"] = ("BF16", (hidden,))
    return tensors


def llama(
    layers: int,
    width: int,
    mlp: int,
    words: int,
    *,
    kv: int,
    q: int,
    dtype: str,
    tied: bool = False,
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """LLaMA and Qwen: their matrices have the same names."""
    tensors = {"model.embed_tokens.weight": (dtype, (words, width))}
    for block in range(layers):
        stem = f"model.layers.{block}"
        shapes = {
            "self_attn.q_proj": (q, width), "self_attn.k_proj": (kv, width),
            "self_attn.v_proj": (kv, width), "self_attn.o_proj": (width, q),
            "mlp.gate_proj": (mlp, width), "mlp.up_proj": (mlp, width),
            "mlp.down_proj": (width, mlp),
        }  # fmt: skip
        tensors |= {f"{stem}.{name}.weight": (dtype, shape) for name, shape in shapes.items()}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{stem}.{norm}.weight"] = (dtype, (width,))
    tensors["model.norm.weight"] = (dtype, (width,))
    return tensors if tied else tensors | {"lm_head.weight": (dtype, (words, width))}


def fused(
    stem: str,
    tail: tuple[str, str, str, str],
    layers: int,
    shapes: tuple[tuple[int, int], ...],
    dtype: str,
) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    """Blocks of four matrices: queries, keys and values in one, then out, up and down."""
    for block in range(layers):
        for name, shape in zip(tail, shapes, strict=True):
            yield f"{stem}.{block}.{name}.weight", (dtype, shape)


def falcon_7b(layers: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """One key and value for 71 heads."""
    width, words = 4544, 1000  # of 65,024
    names = (
        "self_attention.query_key_value",
        "self_attention.dense",
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",
    )
    shapes = ((4672, width), (width, width), (4 * width, width), (width, 4 * width))
    ends = {
        f"{name}.weight": ("BF16", (words, width))
        for name in ("transformer.word_embeddings", "lm_head")
    }
    return ends | dict(fused("transformer.h", names, layers, shapes, "BF16"))


def pythia_70m() -> dict[str, tuple[str, tuple[int, ...]]]:
    """GPT-NeoX: six layers of width 512."""
    names = (
        "attention.query_key_value",
        "attention.dense",
        "mlp.dense_h_to_4h",
        "mlp.dense_4h_to_h",
    )
    shapes = ((1536, 512), (512, 512), (2048, 512), (512, 2048))
    ends = {
        name: ("F16", (50_304, 512)) for name in ("gpt_neox.embed_in.weight", "embed_out.weight")
    }
    return ends | dict(fused("gpt_neox.layers", names, 6, shapes, "F16"))


def gpt2(layers: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The smallest, whose matrices stand the other way round (Conv1D)."""
    names = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    shapes = ((768, 2304), (768, 768), (768, 3072), (3072, 768))
    ends = {"wte.weight": ("F32", (50_257, 768)), "wpe.weight": ("F32", (1024, 768))}
    return ends | dict(fused("h", names, layers, shapes, "F32"))


def vit_base(layers: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """google/vit-base-patch16-224."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "vit.embeddings.cls_token": ("F32", (1, 1, 768)),
        "vit.embeddings.position_embeddings": ("F32", (1, 197, 768)),
        "vit.embeddings.patch_embeddings.projection.weight": ("F32", (768, 3, 16, 16)),
        "classifier.weight": ("F32", (1000, 768)),
    }
    for block in range(layers):
        stem = f"vit.encoder.layer.{block}"
        for name in ("query", "key", "value"):
            tensors[f"{stem}.attention.attention.{name}.weight"] = ("F32", (768, 768))
        tensors[f"{stem}.attention.output.dense.weight"] = ("F32", (768, 768))
        tensors[f"{stem}.intermediate.dense.weight"] = ("F32", (3072, 768))
        tensors[f"{stem}.output.dense.weight"] = ("F32", (768, 3072))
    return tensors


def resnet18() -> dict[str, tuple[str, tuple[int, ...]]]:
    """timm/resnet18.tv_in1k."""
    tensors = {"conv1.weight": ("F32", (64, 3, 7, 7)), "fc.weight": ("F32", (1000, 512))}
    for stage, (into, width) in enumerate(pairwise((64, 64, 128, 256, 512)), 1):
        for block in (0, 1):
            first = into if block == 0 else width
            stem = f"layer{stage}.{block}"
            tensors[f"{stem}.conv1.weight"] = ("F32", (width, first, 3, 3))
            tensors[f"{stem}.conv2.weight"] = ("F32", (width, width, 3, 3))
            tensors[f"{stem}.bn1.weight"] = ("F32", (width,))
            if first != width:
                tensors[f"{stem}.downsample.0.weight"] = ("F32", (width, first, 1, 1))
    return tensors


def vgg16() -> dict[str, tuple[str, tuple[int, ...]]]:
    """timm/vgg16.tv_in1k: its first two dense layers are stored as convolutions."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    at, into = 0, 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        if width:
            tensors[f"features.{at}.weight"] = ("F32", (width, into, 3, 3))
            into, at = width, at + 2
        else:
            at += 1
    return tensors | {
        "pre_logits.fc1.weight": ("F32", (4096, 512, 7, 7)),
        "pre_logits.fc2.weight": ("F32", (4096, 4096, 1, 1)),
        "head.fc.weight": ("F32", (1000, 4096)),
    }
