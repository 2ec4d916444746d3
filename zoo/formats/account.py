"""The account of a checkpoint: its weights, and the fate of every stored tensor.

A quantised tensor taken for plain numbers has a plausible spectrum, so nothing is guessed:
what no decoder claims and no rule explains is `unknown`, which is an error for that tensor.
"""

from __future__ import annotations

from collections.abc import Iterable

from zoo.formats.awq import awq
from zoo.formats.bitmask import bitmask
from zoo.formats.bitnet import bitnet
from zoo.formats.bitsandbytes import bnb_4bit, bnb_8bit
from zoo.formats.claim import Claim, Decoder, Free
from zoo.formats.comfy import comfy
from zoo.formats.exl2 import exl2
from zoo.formats.fp4 import fp4_packed, mxfp4_blocks
from zoo.formats.fp8 import fp8
from zoo.formats.gguf import gguf
from zoo.formats.gptq import gptq
from zoo.formats.hqq import hqq
from zoo.formats.integers import int8, int_packed
from zoo.formats.leftovers import leftover, no_weight
from zoo.formats.mlx import mlx
from zoo.formats.native import native
from zoo.formats.orphans import orphans
from zoo.formats.quark import quark
from zoo.formats.signatures import format_of
from zoo.formats.torchao import torchao
from zoo.formats.undecoded import hold_codes, undecoded, without_partial
from zoo.formats.weight import Account, Entry
from zoo.io.checkpoint import Checkpoint
from zoo.io.dtypes import NATIVE_FLOATS

DECODERS: tuple[Decoder, ...] = (
    gguf, torchao, comfy, mlx, hqq, exl2, quark, bitmask, bitnet, bnb_4bit, bnb_8bit, awq, gptq,
    int_packed, mxfp4_blocks, fp4_packed, int8, fp8, orphans,
)  # fmt: skip
"""Decoders in the order in which they are asked: each sees only what those before it left."""


def account(checkpoint: Checkpoint) -> Account:
    """All weights of a checkpoint and one entry per stored tensor. Reads headers only."""
    entries: dict[str, Entry] = {}
    claims: list[Claim] = []
    for meta in checkpoint.tensors.values():
        if (reason := checkpoint.set_aside.get(meta.name)) is not None:
            entries[meta.name] = Entry(meta.name, "skipped", reason)
        elif entry := no_weight(meta):
            entries[meta.name] = entry
    taken: set[str] = set(entries)

    def free() -> Free:
        """The tensors that nobody has claimed so far."""
        return {n: m for n, m in checkpoint.tensors.items() if n not in taken}

    def take(new_claims: Iterable[Claim]) -> None:
        for claim in new_claims:
            claims.append(claim)
            taken.update((claim.main, *claim.companions))

    for decoder in DECODERS:
        take(decoder(checkpoint, free()))
    claims[:] = without_partial(checkpoint, free(), claims)
    take(undecoded(checkpoint, free(), tuple(claims)))
    learned = {name: meta for name, meta in free().items() if name not in checkpoint.buffers}
    take(native(checkpoint, learned))
    for claim in claims:
        _enter(claim, entries)
    for name, meta in checkpoint.tensors.items():
        if name in checkpoint.buffers and meta.dtype in NATIVE_FLOATS and len(meta.shape) > 1:
            entries.setdefault(
                name, Entry(name, "skipped", "buffer: not learned (its module or file says so)")
            )
        if name not in entries:
            entries[name] = leftover(
                meta, format_of(checkpoint, name) if hold_codes(meta) else None
            )
    weight_of = {claim.main: claim.weight for claim in claims if claim.weight}
    return Account(
        tuple(weight_of[name] for name in checkpoint.tensors if name in weight_of),
        tuple(entries[name] for name in checkpoint.tensors),
    )


def _enter(claim: Claim, entries: dict[str, Entry]) -> None:
    """Adds the entries of a claim's main tensor and companions, which may serve several weights."""
    if claim.weight is None:
        entries[claim.main] = Entry(claim.main, "unknown", claim.reason)
    else:
        entries[claim.main] = Entry(claim.main, "analysed", None)
    for name in claim.companions:
        entries.setdefault(name, Entry(name, "companion", f"quantisation data of {claim.main}"))
