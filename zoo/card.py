"""Model cards: the YAML front matter of a README.md -> a frozen `Card`.

A card is written by anyone, so nothing in it is trusted: at most `MAX_CARD_BYTES` are read, the
YAML is parsed without tags, anchors or type conversion (every scalar arrives as text), its depth
and size are bounded, and what is wrong ends up in `Card.problems`; a card never fails its model.
Knows nothing of the Hub, of tensors or of tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import yaml  # type: ignore[import-untyped]

from zoo.columns import REQUIRED, TEXT, Group, Unit

MAX_CARD_BYTES = 2**20
"""Front matter beyond this is not read (the largest honest cards, MTEB's, are a few 100 kB)."""
MAX_EVALUATIONS = 10_000
"""Results that are kept of one card; the rest is a problem of the card."""
MAX_TEXT = 500
"""Characters that are kept of one text field."""
MAX_DEPTH = 32
"""YAML nested deeper than this is refused; `model-index` needs six levels."""

_FRONT_MATTER = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?^---[ \t]*\r?$", re.S | re.M)
"""A card whose first lines are `---`, YAML, `---`; the group is the YAML."""
_FIRST_BYTES = 4096
"""Bytes of a README.md that are read first; most front matter is shorter."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""Characters that no text of a card may bring to a terminal or a table."""
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
"""How YAML writes that there is no value."""
# Where PyYAML was built with libyaml, CBaseLoader reads a card of 1 MB in one second, not ten.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""Reads YAML without tags, so that every scalar stays text."""


@dataclass(frozen=True, slots=True)
class Evaluation(Group):
    """One result a card claims; the number is the author's, unchecked and in the author's unit."""

    task: Annotated[str | None, TEXT]
    """Task of the result, such as `text-classification`."""
    dataset: Annotated[str | None, TEXT]
    """Data set, with configuration and split when given: `glue (sst2, validation)`."""
    metric: Annotated[str, TEXT, REQUIRED]
    """Name of the metric: `accuracy`, `train_accuracy`, ..."""
    value: Annotated[float, Unit("as the metric")]
    """The number as the card has it, fraction or percentage; NULL when it gives none."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a model card says about its model; every field may be missing."""

    evaluations: tuple[Evaluation, ...] = ()
    """Results of `model-index`, in the order of the card."""
    base_models: tuple[str, ...] = ()
    """Ids of the models this one was made from."""
    license: str | None = None
    """Licence identifier, such as `apache-2.0`."""
    library: str | None = None
    """Library that loads the model, such as `transformers`."""
    pipeline_tag: str | None = None
    """Task the Hub offers it for."""
    tags: tuple[str, ...] = ()
    """Free tags."""
    problems: tuple[str, ...] = ()
    """What was wrong with the card and therefore left out."""

    @property
    def base_model(self) -> str | None:
        """The first base model, or None."""
        return self.base_models[0] if self.base_models else None


def front_of(read: Callable[[int, int], bytes], size: int) -> bytes:
    """Enough of a README.md of `size` bytes to hold its front matter, in growing pieces.

    `read(start, length)` gives bytes of it: the text below may be much longer than the matter.
    """
    raw, step = b"", _FIRST_BYTES
    while len(raw) < min(size, MAX_CARD_BYTES + 1):
        raw += read(len(raw), min(step, size - len(raw), MAX_CARD_BYTES + 1 - len(raw)))
        text = raw.decode("utf-8", errors="replace")
        matter = _FRONT_MATTER.match(text)
        is_closed = matter is not None and text[matter.end() : matter.end() + 1] == "\n"
        if is_closed or not text.lstrip("\ufeff \t\r\n").startswith("---"):
            break
        step *= 2
    return raw


def parse_card(raw: bytes) -> Card:
    """The card in the bytes of a README.md. Never raises; see `Card.problems`."""
    cut = len(raw) > MAX_CARD_BYTES
    text = raw[:MAX_CARD_BYTES].decode("utf-8", errors="replace")
    matter = _FRONT_MATTER.match(text)
    if matter is None:
        if cut and text.lstrip("\ufeff \t\r\n").startswith("---"):
            return Card(problems=(f"front matter is longer than {MAX_CARD_BYTES} bytes",))
        return Card()
    try:
        metadata = _load_bounded(matter.group(1))
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        return Card(problems=(_text(f"front matter is no plain YAML: {err}") or "",))
    return card_from_metadata(metadata)


def card_from_metadata(metadata: object) -> Card:
    """The card in already parsed metadata (front matter, or the Hub's `cardData` JSON)."""
    if metadata is None or (isinstance(metadata, str) and metadata in _NULLS):
        return Card()
    if not isinstance(metadata, Mapping):
        return Card(problems=(f"metadata is a {type(metadata).__name__}, expected a mapping",))
    problems: list[str] = []
    evaluations = tuple(_evaluations(metadata.get("model-index"), problems))
    licenses = _texts(metadata.get("license"))
    return Card(
        evaluations=evaluations,
        base_models=_texts(metadata.get("base_model")),
        license=", ".join(licenses)[:MAX_TEXT] or None,
        library=_text(metadata.get("library_name")),
        pipeline_tag=_text(metadata.get("pipeline_tag")),
        tags=_texts(metadata.get("tags")),
        problems=tuple(problems[:20]),
    )


def _load_bounded(text: str) -> object:
    """YAML without aliases and deep nesting: either can cost exponential time or the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases are not allowed in a card")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    loaded: object = yaml.load(text, Loader=_Loader)
    return loaded


def _evaluations(index: object, problems: list[str]) -> Iterator[Evaluation]:
    """The results in the `model-index` of a card; what is wrong with it is added to `problems`."""
    num_results = 0
    for model in _items(index, "model-index", problems):
        for result in _items(_get(model, "results"), "results", problems):
            task = _text(_get(_get(result, "task"), "type"))
            dataset = _dataset(_get(result, "dataset"))
            for metric in _items(_get(result, "metrics"), "metrics", problems):
                name = _text(_get(metric, "type")) or _text(_get(metric, "name"))
                value = _number(_get(metric, "value"))
                if name is None or value is None:
                    problems.append(f"metric {name or 'without a type'}: value is no finite number")
                    continue
                if num_results == MAX_EVALUATIONS:
                    problems.append(f"more than {MAX_EVALUATIONS} results; the rest is left out")
                    return
                num_results += 1
                yield Evaluation(task, dataset, name, value)


def _dataset(dataset: object) -> str | None:
    """Name of a data set with configuration and split, where they are given."""
    name = _text(_get(dataset, "name")) or _text(_get(dataset, "type"))
    config_and_split = (_text(_get(dataset, "config")), _text(_get(dataset, "split")))
    # many cards repeat configuration or split in the name: MTEB AmazonCounterfactual (en)
    extra = [
        part for part in config_and_split if part is not None and f"({part})" not in (name or "")
    ]
    if not extra:
        return name
    return f"{name or '?'} ({', '.join(extra)})"[:MAX_TEXT]


def _get(node: object, key: str) -> object:
    return node.get(key) if isinstance(node, Mapping) else None


def _items(node: object, what: str, problems: list[str]) -> Sequence[object]:
    """`node` if it is a list; empty when it is absent, or anything else, which is a problem."""
    if node is None or (isinstance(node, str) and node in _NULLS):
        return ()
    if isinstance(node, Sequence) and not isinstance(node, str | bytes):
        return node
    problems.append(f"{what} is a {type(node).__name__}, expected a list")
    return ()


def _text(value: object) -> str | None:
    """`value` as one line of bounded length; None when it is no text or says that there is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        text = _CONTROL.sub(" ", str(value)).strip()[:MAX_TEXT]
    except ValueError:  # an int of more digits than Python prints
        return None
    return None if text in _NULLS else text


def _texts(value: object) -> tuple[str, ...]:
    """The texts in `value`, which may be one or a list."""
    many = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    return tuple(text for text in map(_text, many[:1000]) if text is not None)


def _number(value: object) -> float | None:
    """`value` as a finite number; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
