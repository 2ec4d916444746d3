"""Which GGUF file of several is the model: by what the headers say, never by size alone.

A folder may hold one model at many precisions, and beside it a projector for images (mmproj), an
importance matrix, adapters and draft heads. Several models are refused with their list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from zoo.errors import CheckpointError, MissingShardError
from zoo.io.file_sets import FileSet, base_name
from zoo.io.gguf_header import Value, read_gguf_start
from zoo.io.left_out import LeftOut
from zoo.io.lfs import refuse_pointer
from zoo.io.store import Store

GgufKind = Literal["model", "projector", "importance matrix", "adapter", "draft head", "vocabulary"]
"""What a GGUF file may be."""

_KIND_OF_TYPE: Mapping[str, GgufKind] = {
    "mmproj": "projector",
    "imatrix": "importance matrix",
    "adapter": "adapter",
}
"""Kinds by what `general.type` says."""
_KIND_OF_NAME: tuple[tuple[re.Pattern[str], GgufKind], ...] = (
    (re.compile(r"(^|[-_.])mm-?proj([-_.]|$)"), "projector"),
    (re.compile(r"(^|[-_.])imatrix([-_.]|$)(?!.*[-_.]i?q\d)"), "importance matrix"),
    (re.compile(r"(^|[-_.])(eagle\d?|medusa|mtp|dflash|draft)([-_.]|$)"), "draft head"),
)
"""Kinds by file name, for the many files whose header does not say."""
_DRAFT_ARCHITECTURES = ("eagle", "medusa", "dflash", "mtp")
"""What the architectures of heads that only guess another model's next tokens are called like."""
PRECISION_OF_GGUF = re.compile(
    r"(^|[-_.])(ud[-_])?(i1[-_])?"
    r"(bf16|fp?16|fp?32|fp?8|(i?q|tq)\d+(_(k|[01]|xxs|xs|nl|s|m|l|xl|moe|p|r\d+|\d+))*"
    r"|mxfp\d(_moe)?|nvfp\d)"
    r"([-_.](imat|imatrix))?(?=$|[-_.])",
    re.IGNORECASE,
)
"""Part of a file name that tells the precision: `Q4_K_M`, `i1-IQ3_XXS`, `UD-Q2_K_XL`, `BF16`."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One GGUF file, or the splits of one."""

    files: FileSet
    kind: GgufKind
    architecture: str
    sizes: tuple[tuple[str, Value], ...]
    """The numbers that the architecture has, which every precision of one model shares."""
    nbytes: int

    @property
    def name(self) -> str:
        """First file, for messages."""
        return self.files.files[0]

    @property
    def model(self) -> tuple[object, ...]:
        """Equal for the precisions of one model."""
        bare = f"{self.files.stem}.{self.files.variant}" if self.files.variant else self.files.stem
        return (
            self.architecture,
            self.sizes,
            PRECISION_OF_GGUF.sub("", base_name(bare)).strip("-_.").lower(),
        )


def pick_gguf(
    store: Store, candidates: Sequence[FileSet]
) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
    """(files of the model, what is left out). CheckpointError for several models, and for none.

    Of several precisions of one model the largest files are read, which are the most precise.
    """
    sizes = store.files()
    looked_at = [_look(store, files) for files in candidates]
    models = [c for c in looked_at if c.kind == "model"]
    is_matrix = [c.kind for c in looked_at] == ["importance matrix"]
    if is_matrix or (not models and len(looked_at) > 1):
        models = [c for c in looked_at if c.kind in ("projector", "adapter", "draft head")]
        if len(models) != 1:
            kinds = ", ".join(f"{c.name} ({c.kind})" for c in looked_at)
            raise CheckpointError(
                f"no model among the GGUF files of {store.model_id}: {kinds}; wanted weights of "
                "one model. Name the file to use"
            )
    models = models or looked_at
    if len({c.model for c in models}) > 1:
        names = ", ".join(f"{c.name} ({c.architecture or 'no architecture'})" for c in models)
        raise CheckpointError(
            f"{store.model_id} holds {len({c.model for c in models})} models: {names}; wanted one. "
            "Name the file to use"
        )
    whole = [c for c in models if not c.files.missing]
    if not whole:
        lacking = models[0].files
        raise MissingShardError(
            f"shard {lacking.missing[0]!r} is not in {store.model_id}: {len(lacking.files)} of the "
            f"{len(lacking.files) + len(lacking.missing)} shards are there; fetch the others"
        )
    best = max(whole, key=lambda c: (c.nbytes, c.name))
    left = [
        LeftOut(file, sizes[file], _why(c, best))
        for c in looked_at
        if c is not best
        for file in c.files.files
    ]
    return best.files.files, tuple(left)


def _why(candidate: _Candidate, best: _Candidate) -> str:
    """Why a candidate is left out beside `best`."""
    if candidate.kind != "model":
        article = "an" if candidate.kind[0] in "ai" else "a"
        return f"{article} {candidate.kind} beside the model {best.name}"
    if candidate.files.missing:
        return f"shard {candidate.files.missing[0]} is missing, and {best.name} is whole"
    return f"another precision of the same model: {best.name} is read"


def _look(store: Store, files: FileSet) -> _Candidate:
    """What the start of the first file says."""
    file = store.open(files.files[0])
    try:
        refuse_pointer(file)
        num_tensors, pairs = read_gguf_start(file)
    finally:
        file.close()
    architecture = str(pairs.get("general.architecture", ""))
    numbers = tuple(
        sorted(
            (key, value)
            for key, value in pairs.items()
            if architecture and key.startswith(f"{architecture}.") and type(value) is int
        )
    )
    sizes = store.files()
    nbytes = sum(sizes[name] for name in files.files)
    kind = _kind(pairs, architecture, files, num_tensors)
    return _Candidate(files, kind, architecture, numbers, nbytes)


def _kind(
    pairs: Mapping[str, Value], architecture: str, files: FileSet, num_tensors: int
) -> GgufKind:
    """What a GGUF file is, by its header and, where that does not tell, by its name."""
    declared = str(pairs.get("general.type", ""))
    if declared in _KIND_OF_TYPE:
        return _KIND_OF_TYPE[declared]
    if architecture == "clip":
        return "projector"
    if "adapter.type" in pairs:
        return "adapter"
    if architecture.lower().startswith(_DRAFT_ARCHITECTURES):
        return "draft head"
    name = base_name(files.files[0]).rpartition(".")[0].lower()
    for pattern, kind in _KIND_OF_NAME:
        if pattern.search(name) and not (declared == "model" and kind != "draft head"):
            return kind
    return "vocabulary" if num_tensors == 0 and not files.is_sharded else "model"
