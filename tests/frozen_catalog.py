"""The small zoo behind tests/frozen, and how its catalog was made.

The catalog was written once, by version 0.1.0 (NUMBERS_VERSION 2, schema 1), and is kept: it stands
for what users have on disk. Do not write it anew to make a test pass; a later version gets a
archive of its own beside it. How it was made: commit 85db386 and these two test modules in
/tmp/zoo-0.1.0, and there, with an empty /tmp/frozen:

    python -m tests.frozen_catalog --write /tmp/frozen

Models are written by `write_zoo` whenever they are needed, byte for byte the same, so that their
fingerprints are those in the catalog. It holds no path but these two.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

from tests.golden_zoo import heavy, noise, planted, write_folder

ARCHIVE = Path(__file__).parent / "frozen" / "catalog-0.1.0.tar.xz"
SPEC = """[sweep]
name = "nightly"

[[source]]
path = "zoo/*"

[[source]]
path = "run/*"
step_pattern = 'step(\\d+)'

[[source]]
path = "adapters/tuned"
base = "zoo/plain"

[layers]
adapters = "both"

[tail]
alternatives = true
"""

CARD = """---
license: mit
model-index:
- name: plain
  results:
  - task: {type: image-classification}
    dataset: {name: digits, type: digits}
    metrics:
    - {type: train_accuracy, value: 1.0}
    - {type: test_accuracy, value: 0.75}
---
"""


def write_zoo(root: Path) -> Path:
    """The models of the first sweep below `root` and a spec beside them; returns the spec."""
    mlp = {"model_type": "mlp"}
    q = "layers.0.self_attn.q_proj"
    write_folder(
        root / "zoo" / "plain",
        {f"{q}.weight": heavy(101, 40, 24), "layers.0.mlp.up_proj.weight": heavy(102, 30, 24)},
        mlp,
        card=CARD,
    )
    write_folder(
        root / "zoo" / "trapped",
        {"fc.weight": planted(103, 36, 30, (3, 4, 30.0)), "gone.weight": heavy(104, 24, 20) * 1e30},
        mlp,
    )
    torn = write_folder(root / "zoo" / "torn", {"fc.weight": noise(105, 12, 10)}, mlp)
    weights = torn / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    for step in (10, 200):
        write_folder(root / "run" / f"step{step}", {"fc.weight": heavy(110 + step, 30, 22)}, mlp)
    write_folder(
        root / "adapters" / "tuned",
        {
            f"base_model.model.{q}.lora_A.weight": noise(106, 4, 24),
            f"base_model.model.{q}.lora_B.weight": noise(107, 40, 4),
        },
        {"peft_type": "LORA", "r": 4, "lora_alpha": 8},
        name="adapter_model.safetensors",
    )
    spec = root / "spec.toml"
    spec.write_text(SPEC)
    return spec


def write_late(root: Path) -> None:
    """The model that only the second sweep found."""
    write_folder(root / "zoo" / "late", {"fc.weight": heavy(108, 30, 20)}, {"model_type": "mlp"})


def unpack(folder: Path) -> Path:
    """The frozen catalog as a folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "catalog"


def make(root: Path) -> None:
    """Two sweeps of one name, the first one compacted, the second one's new model left hot."""
    from jobs.__main__ import run

    spec, catalog = write_zoo(root), root / "catalog"
    sweep = ["sweep", str(spec), "--out", str(catalog), "-j", "1", "--quiet"]
    assert run(sweep) == 1  # one model is torn
    assert run(["compact", str(catalog), "--quiet"]) == 0
    write_late(root)
    assert run(sweep) == 1
    ARCHIVE.parent.mkdir(exist_ok=True)
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for path in sorted(p for p in catalog.rglob("*") if p.is_file()):
            if "_tmp" in path.relative_to(catalog).parts:  # locks
                continue
            info = tarfile.TarInfo(f"catalog/{path.relative_to(catalog)}")
            data = path.read_bytes()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    if sys.argv[1:-1] != ["--write"]:
        sys.exit("wanted --write and an empty folder")
    make(Path(sys.argv[-1]))
