"""Which file names are weights, and of which container. The one place that decides; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

Container = Literal["safetensors", "gguf", "pickle"]
"""A kind of file that holds tensors. Others are read alone: see `zoo.io.other_files`."""

SUFFIXES: Final[Mapping[Container, tuple[str, ...]]] = {
    "safetensors": (".safetensors",),
    "gguf": (".gguf",),
    "pickle": (".bin", ".pt", ".pth", ".ckpt"),
}
"""How the names of a container's files end; the containers in the order of preference."""

WEIGHT_SUFFIXES: Final = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"""How the name of any weight file ends."""

_UNREAD: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"\.onnx$|\.onnx[._]data(_\d+)?$|\.ort$", "ONNX"),
        (r"\.keras$|\.weights\.h5$|(^|/)tf_model(-\d+-of-\d+)?\.h5$|\.h5$|\.hdf5$", "Keras or HDF5"),
        (r"\.np[zy]$", "numpy arrays"),
        (r"\.msgpack$", "Flax msgpack"),
        (r"\.ckpt[-\w]*\.(index|meta)$|\.data-\d+-of-\d+$|(^|/)saved_model\.pb$|\.pb$|\.tflite$",
         "TensorFlow"),
        (r"\.pt2$|\.pte$|\.ptl$|\.torchscript$|\.mar$", "an exported PyTorch program"),
        (r"\.pkl$|\.pickle$|\.joblib$|\.dill$", "a Python pickle"),
        (r"\.nemo$|\.tar$|\.tar\.gz$|\.tgz$", "an archive"),
        (r"(^|/)openvino[-_\w]*\.(xml|bin)$", "OpenVINO"),
        (r"\.mlmodel$|\.mlpackage/|\.mlmodelc/", "Core ML"),
        (r"\.ot$", "rust-bert"),
        (r"\.pdparams$|\.pdiparams$", "Paddle"),
        (r"\.engine$|\.plan$|\.trt$", "TensorRT"),
        (r"\.distcp$|(^|/)__\d+_\d+\.distcp$", "a PyTorch distributed checkpoint"),
        (r"\.ggml$|(^|/)ggml-[^/]*\.(bin|dat)$|\.llamafile$", "GGML before GGUF"),
        (r"\.params$|\.caffemodel$|\.weights$|\.mat$", "another library's weights"),
        (r"\.(safetensors|gguf|bin|pt|pth|ckpt)\.(part\d*|tmp|incomplete|crdownload|aria2|lock|bak"
         r"|old|zip|gz|zst|xz|enc)$", "a file that is not whole, or packed"),
    )
)  # fmt: skip
"""What the names of other weight files look like, which nothing here reads, and what they are."""

_INDEX = re.compile(r"\.index(\.[\w-]+)?\.json$")
"""Ending of a file that says which shard holds which tensor."""

_TRAINING_STATE = re.compile(
    r"(optimizer|optim_states|distrib_optim|scheduler|scaler|rng_state|random_states|training_args"
    r"|trainer_state)[^/]*$"
)
"""File names of what a training run keeps beside the weights."""
_TRAINING_TENSOR = re.compile(
    r"^(optimizers?|optimizer_states?|optimizer_state_dict|optim|opt|lr_schedulers?|scheduler"
    r"|callbacks|loops|rng_state|random_states|grad_scaler)\."
    r"|(^|\.)(exp_avg|exp_avg_sq|max_exp_avg_sq|exp_inf|momentum_buffer|square_avg|acc_delta)$"
)
"""What the names of training state start with, when it is stored beside the weights, and what
those of an optimizer's averages end with."""


def is_weight_file(name: str) -> bool:
    """True for a name that ends like a container of weights, whatever is inside."""
    return name.endswith(WEIGHT_SUFFIXES)


def is_index_file(name: str) -> bool:
    """True for the index of a sharded checkpoint, of a variant too (`.index.fp16.json`)."""
    return bool(_INDEX.search(name))


def is_training_state(name: str) -> bool:
    """True for the state of an optimizer, a scheduler or a random generator, as trainers name it."""
    return bool(_TRAINING_STATE.search(name.lower()))


def is_training_tensor(name: str) -> bool:
    """True for a tensor of an optimizer's, scheduler's or random generator's state."""
    return bool(_TRAINING_TENSOR.search(name))


def is_model_file(name: str) -> bool:
    """True for a weight file that is no training state: part of a model."""
    return is_weight_file(name) and not is_training_state(name)


def unread_kind(name: str) -> str | None:
    """What a file is that may hold weights and that nothing here reads; None for any other file."""
    lowered = name.lower()
    if is_weight_file(lowered) and not _is_others_bin(lowered):
        # an ending in capitals is no container of ours: no library looks for it
        return None if is_weight_file(name) else "weights whose ending is in capitals"
    return next((kind for pattern, kind in _UNREAD if pattern.search(lowered)), None)


def _is_others_bin(name: str) -> bool:
    """True for the `.bin` files of OpenVINO and of GGML before GGUF, which are no pickles."""
    return bool(re.search(r"(^|/)(openvino[-_\w]*|ggml-[^/]*)\.bin$", name))
