"""The base model that a fine-tune names: its card first, then its config, then an adapter's settings.

Reads small files beside the weights, never a header. What somebody wrote there is an id on the Hub or
nothing: a path in a config is one of the machine that trained the model, and is not followed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial

from jobs.sources.target import Target
from zoo.card import Card, front_of, parse_card
from zoo.errors import CheckpointError
from zoo.io.addresses import names_hub
from zoo.io.configs import base_named_by_adapter, base_named_by_config
from zoo.io.files import read_bytes
from zoo.io.store import Store


@dataclass(frozen=True, slots=True)
class NamedBase:
    """What the files of a model say of its base."""

    model_id: str | None
    """Id of the base; None when nothing names one."""
    why: str
    """Where it stands, or why there is none."""


def named_base(target: Target) -> NamedBase:
    """The base that the model behind `target` names. Raises the errors of reading its files."""
    if target.metadata.base_models:
        return _of_card(target.metadata.base_models, target)
    with target.reading() as store:
        card = card_of(store)
        if card.base_models:
            return _of_card(card.base_models, target)
        try:
            config = base_named_by_config(store)
        except CheckpointError:
            config = None  # whoever reads the model says what is wrong with it
        settings = base_named_by_adapter(store)
    for name, file in ((config, "config.json"), (settings, "adapter_config.json")):
        if name is not None and name != target.model_id and names_hub(name):
            return NamedBase(name, f"named by its {file}")
        if name is not None and name != target.model_id:
            return NamedBase(None, f"its {file} names {name!r}, a path of another machine")
    return NamedBase(None, "neither its card nor its config names one")


def _of_card(names: tuple[str, ...], target: Target) -> NamedBase:
    others = [name for name in names if name != target.model_id]
    if len(others) != 1:
        return NamedBase(None, f"its card names {len(others)}: {', '.join(others[:3]) or 'itself'}")
    if not names_hub(others[0]):
        return NamedBase(None, f"its card names {others[0]!r}, which is no id on the Hub")
    return NamedBase(others[0], "named by its card")


def card_of(store: Store) -> Card:
    """The model card in a store; an empty one when there is none."""
    size = store.files().get("README.md", 0)
    if size == 0:
        return Card()
    with contextlib.closing(store.open("README.md")) as file:
        return parse_card(front_of(partial(read_bytes, file), size))
