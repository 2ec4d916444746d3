"""What `zoo doctor` tells of accelerators, without torch."""

from __future__ import annotations

import pytest

from zoo.machine import cuda


def test_the_driver_and_torch_agree() -> None:
    import torch

    names, why = cuda.cuda_devices()
    assert len(names) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    assert bool(names) != bool(why)
    assert cuda._torch_cuda() == torch.version.cuda


def test_a_machine_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_torch_cuda", lambda: "12.8")
    monkeypatch.setattr(cuda, "_DRIVER", "libnothing-of-this-name.so.1")
    assert cuda.cuda_devices() == ((), "no driver here (libnothing-of-this-name.so.1)")
