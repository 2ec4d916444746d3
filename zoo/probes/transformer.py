"""Networks of the `transformers` library, built from config.json and our own reading of the weights.

The class is the one that config.json names, out of the library itself: code that lies beside the
weights never runs. The tensors are those that `zoo.formats` decodes, so a quantised checkpoint is
probed as what it computes with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from zoo.errors import UseError
from zoo.probes.inputs import draw_for, num_tokens, of_config
from zoo.probes.network import Inputs, Network, ProbeKind, UnprobeableError
from zoo.probes.options import Position


def transformer(
    config: Mapping[str, Any],
    state: Mapping[str, torch.Tensor],
    *,
    length: int | None = None,
    position: Position = "last",
) -> Network:
    """The network that `config` names, with the tensors of `state`.

    Raises UnprobeableError where transformers knows no such architecture or the tensors do not fit it,
    UseError where it is not installed.
    """
    transformers = library()
    name, network_class, built = class_of(config)
    try:
        with silent(transformers):
            module, told = network_class.from_pretrained(
                None, config=built, state_dict=dict(state), output_loading_info=True
            )
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UnprobeableError(f"{name} does not take these tensors: {error}") from error
    missing = sorted(told["missing_keys"]) + sorted(str(key) for key in told["mismatched_keys"])
    if missing:
        raise UnprobeableError(
            f"{len(missing)} tensors of {name} are not in the checkpoint, such as {missing[0]}; "
            "wanted a checkpoint whose names fit its architecture"
        )
    return network_of(module, config, built, length=length, position=position)


def library() -> Any:
    """The package `transformers`. UseError where it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise UseError(
            "probes of Hub models need transformers; `pip install 'spectral-zoo[probes]'`"
        ) from error
    return transformers


def class_of(config: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """(name, class, configuration) of the network that `config` names; UnprobeableError where it is unknown."""
    transformers, name = library(), _class_name(config)
    network_class = getattr(transformers, name, None)
    model_type = str(config.get("model_type", ""))
    if network_class is None or model_type not in transformers.CONFIG_MAPPING:
        raise UnprobeableError(
            f"transformers {transformers.__version__} knows no {name} of model_type {model_type!r}; "
            "code from a repository never runs: name a factory (package.module:function)"
        )
    # how the file is packed is no matter of the network: its tensors are decoded already
    settings = {k: v for k, v in config.items() if k not in ("quantization_config", "model_type")}
    return name, network_class, transformers.CONFIG_MAPPING[model_type].from_dict(settings)


def network_of(
    module: torch.nn.Module,
    config: Mapping[str, Any],
    built: Any,
    *,
    length: int | None,
    position: Position,
) -> Network:
    """A module of the library with random inputs of its kind."""
    module.eval()
    main = str(getattr(module, "main_input_name", "input_ids"))
    dtype = next(module.parameters()).dtype
    accepts_cache = "use_cache" in config or hasattr(built, "use_cache")

    def draw(count: int, generator: torch.Generator) -> Inputs:
        inputs = draw_for(main, count, generator, config, length=length, dtype=dtype)
        return {**inputs, "use_cache": False} if accepts_cache and main == "input_ids" else inputs

    numel = num_tokens(config, length)
    if main != "input_ids":
        sample = draw_for(main, 1, torch.Generator(), config, length=length, dtype=dtype)
        numel = max(
            1, sample[main].numel() // max(1, int(of_config(config, "patch_size", default=1)) ** 2)
        )
    kind: ProbeKind = "random_tokens" if main == "input_ids" else "gaussian"
    return Network(module, kind, draw, numel, position, main)


def _class_name(config: Mapping[str, Any]) -> str:
    """The class that config.json names; UnprobeableError without one."""
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures and isinstance(architectures[0], str):
        return architectures[0]
    raise UnprobeableError(
        "config.json names no architecture; wanted `architectures`, or a factory (package.module:function)"
    )


@contextmanager
def silent(transformers: Any) -> Iterator[None]:
    """Without its warnings and its bar: what does not fit is said by us."""
    logger = logging.getLogger("transformers")
    before, bars = logger.level, transformers.utils.logging
    had_bar = bars.is_progress_bar_enabled()
    logger.setLevel(logging.ERROR)
    bars.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(before)
        if had_bar:
            bars.enable_progress_bar()
