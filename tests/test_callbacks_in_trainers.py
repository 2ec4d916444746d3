"""The callbacks in the real trainers of transformers and Lightning: same rows, steps and names as checkpoints."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

import zoo as python
from zoo.callbacks import LightningCallback, TransformersCallback

QUICK = {"idle_only": False, "max_share": 1.0, "wait": True}


@pytest.fixture(autouse=True)
def _their_warnings() -> None:
    """What trainers warn of (few workers, no validation) is theirs."""
    warnings.simplefilter("ignore")


def language_model_trainer(folder: Path, callback: TransformersCallback) -> SimpleNamespace:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=64, n_positions=16)
    tokens = torch.randint(64, (16, 8))
    data = [{"input_ids": row, "labels": row} for row in tokens]
    arguments = TrainingArguments(
        str(folder / "tiny-gpt2"), max_steps=4, save_steps=2, per_device_train_batch_size=4,
        gradient_accumulation_steps=2, report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=100,
        dataloader_pin_memory=False,
    )  # fmt: skip
    return Trainer(GPT2LMHeadModel(config), arguments, train_dataset=data, callbacks=[callback])


def test_a_transformers_training_is_a_trajectory_and_goes_on_as_one(tmp_path: Path) -> None:
    callback = TransformersCallback(tmp_path / "catalog", every=2, **QUICK)
    language_model_trainer(tmp_path, callback).train()
    assert callback.state.measured == [0, 2, 4] and not callback.state.failed
    checkpoint = tmp_path / "tiny-gpt2" / "checkpoint-2"
    again = TransformersCallback(tmp_path / "catalog", every=2, **QUICK)
    language_model_trainer(tmp_path, again).train(resume_from_checkpoint=str(checkpoint))
    assert again.state.measured == [2, 4]
    catalog = python.open(tmp_path / "catalog")
    steps = catalog.sql("select step from trajectories where model_id = 'local/tiny-gpt2'")
    assert list(steps["step"]) == [0, 2, 4]
    (of_2,) = catalog.arrow("select count(*) as n from models where step = 2").to_pylist()
    assert of_2["n"] == 1  # the weights that it went on from are those that were measured before
    with safe_open(checkpoint / "model.safetensors", "pt") as saved:
        names = set(saved.keys())
    accounted = catalog.arrow("select distinct tensor from tensors").column("tensor").to_pylist()
    assert set(accounted) == names  # tied and fused ones too
    measured = python.analyze(checkpoint).reports
    rows = catalog.show("local/tiny-gpt2@step2")
    assert list(rows["tensor"]) == [report.row.name.tensor for report in measured]
    assert list(rows["part"].dropna()) == [r.row.name.part for r in measured if r.row.name.part]
    numbers = [report.columns["log_spectral_norm"] for report in measured]
    assert list(rows["log_spectral_norm"].dropna()) == [n for n in numbers if n is not None]


def test_a_lightning_training_is_a_trajectory(tmp_path: Path) -> None:
    import lightning

    class Small(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(40, 30)

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.net(batch).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    callback = LightningCallback(tmp_path / "catalog", every=2, model_id="local/small", **QUICK)
    trainer = lightning.Trainer(
        max_steps=5, accumulate_grad_batches=2, accelerator="cpu", logger=False, callbacks=[callback],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Small(), torch.utils.data.DataLoader(torch.randn(40, 40), batch_size=4))
    assert callback.state.measured == [0, 2, 4, 5]
    rows = python.open(tmp_path / "catalog").show("local/small@step4")
    assert list(rows["tensor"]) == ["net.weight"]
