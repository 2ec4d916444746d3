"""Do probes tell harmful traps from benign ones, and what does an ablation cost?

    python -m benchmarks.probes harm OUT      # the demo's perceptron: J of every trap against its harm
    python -m benchmarks.probes cost          # forward passes a trap, counted in FLOPs
    python -m benchmarks.probes times         # many ablations in one pass against one by one
    python -m benchmarks.probes families OUT  # seven kinds of networks from their files to verdicts

`harm` trains the network of `zoo demo` (200 digits, far beyond memorisation) and takes it at three steps:
generalising, at the onset of traps, and in decline. Of every trap of five shuffles and of 20 bulk modes a
shuffle: J on Gaussian inputs, and how the test error changes when the mode is replaced. It prints a table
and Spearman's rank correlation with its p-value, and draws `OUT/probes.png`.

`cost` probes a layer at each depth of encoders and decoders of 6 and 24 layers (random weights, real
shapes in miniature) and counts the FLOPs of T ablations over those of one forward pass.

`families` sweeps and probes a tiny network of every kind, and counts passes as `cost` does.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.utils.flop_counter import FlopCounterMode

from catalog.read import views
from jobs.demo.build import NUM_TRAIN, SEED
from jobs.demo.train import Digits, Snapshot, load_digits, train
from jobs.experiments.modes import Mode, modes_of
from zoo.options import LayerSelection
from zoo.probes.ablation import ablation_at
from zoo.probes.joint import joint_of
from zoo.probes.layer import Recordings, Variant, batch_size, divergences
from zoo.probes.modes import shuffled_modes
from zoo.probes.network import Network
from zoo.probes.options import ProbeOptions
from zoo.probes.plain import gaussian_network
from zoo.probes.replay import record
from zoo.probes.sites import Site
from zoo.probes.trim import trimmed
from zoo.spectral.shuffle import Permutation

STEPS = (30_000, 100_000, 200_000)
OPTIONS = ProbeOptions(num_probes=1024)


def harms_of(snapshot: Snapshot, digits: Digits) -> list[Mode]:
    """Every trap of a snapshot replaced alone, and bulk modes."""
    state = {name: torch.from_numpy(value) for name, value in snapshot.tensors.items()}
    images = digits.train_images
    moments = {"input_mean": float(images.mean()), "input_std": float(images.std())}
    tested = torch.from_numpy(digits.test_images), torch.from_numpy(digits.test_labels)
    return modes_of(
        state, tested, moments, run="demo", step=snapshot.step, options=OPTIONS, num_controls=20
    )


def harm(out: Path) -> None:
    digits = load_digits(num_train=NUM_TRAIN, seed=SEED)
    harms: list[Mode] = []
    for snapshot in train(digits, steps=STEPS, seed=SEED):
        of_step = harms_of(snapshot, digits)
        harms += of_step
        print(
            f"\nstep {snapshot.step:,}: test error {100 * (1 - snapshot.test_accuracy):.1f} %\n"
            "| layer | traps | J of traps | band | active | Δ test error of traps | of bulk modes |\n"
            "| --- | --- | --- | --- | --- | --- | --- |"
        )
        for layer in sorted({h.layer for h in of_step}):
            traps = [h for h in of_step if h.layer == layer and h.is_trap]
            bulk = [h for h in of_step if h.layer == layer and not h.is_trap]
            jsd, change = [h.jsd for h in traps], [h.change for h in traps]
            spread = (
                f"{np.mean([h.change for h in bulk]):.1f} ± {np.std([h.change for h in bulk]):.1f}"
            )
            print(
                f"| {layer} | {len(traps)} | {min(jsd):.4f} to {max(jsd):.4f} | "
                f"{np.mean([h.band for h in traps]):.4f} | {sum(h.jsd > h.band for h in traps)} | "
                f"{min(change):+.1f} to {max(change):+.1f} | {spread} |"
            )
    for name, chosen in (
        ("traps", [h for h in harms if h.is_trap]),
        ("bulk modes", [h for h in harms if not h.is_trap]),
    ):
        if len(chosen) > 2:
            harm_sizes = [abs(h.change) for h in chosen]
            by_jsd = spearmanr([h.jsd for h in chosen], harm_sizes)
            print(f"\n{name}: Spearman(J, |Δ test error|) = {by_jsd.statistic:.2f}, "
                  f"p = {by_jsd.pvalue:.1e}, n = {len(chosen)}")  # fmt: skip
            if name == "traps":
                by_size = spearmanr([h.excess for h in chosen], harm_sizes)
                print(f"{name}: Spearman(size beyond the edge, |Δ test error|) = "
                      f"{by_size.statistic:.2f}, p = {by_size.pvalue:.1e}")  # fmt: skip
    draw(harms, out)


def draw(harms: list[Mode], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = sorted({h.step for h in harms})  # those that have a trap
    figure, axes = pyplot.subplots(
        1, len(steps), figsize=(10, 4), sharey=True, layout="constrained"
    )
    for axis, step in zip(axes, steps, strict=True):
        of_step = [h for h in harms if h.step == step]
        bulk = [h for h in of_step if not h.is_trap]
        traps = [h for h in of_step if h.is_trap]
        axis.scatter(
            [h.jsd for h in bulk], [h.change for h in bulk], s=10, c="0.7", label="bulk modes"
        )
        drawn = axis.scatter(
            [h.jsd for h in traps], [h.change for h in traps], s=45, edgecolor="black",
            c=[h.excess for h in traps], cmap="viridis", label="traps", vmin=0, vmax=4,
        )  # fmt: skip
        axis.set(title=f"step {step:,}", xlabel="J (nats)", xscale="log")
        axis.axhline(0, color="0.8", linewidth=1, zorder=0)
    axes[0].set_ylabel("change of the test error (points)")
    axes[0].legend(frameon=False)
    figure.colorbar(drawn, ax=axes, label="size of the trap, λ/edge − 1")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "probes.png", dpi=120)
    print(f"\n{out / 'probes.png'}")


def cost() -> None:
    """Forward passes of the whole network that 4 traps of a layer take, by the depth of the layer."""
    print(
        "| network | layer | share behind it | passes for 4 traps | plain replay 1 + 4·share | bar 1.6 |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for name, module, layers in _networks():
        network = Network(module, "random_tokens", _tokens, 32)
        for layer in layers:
            passes, behind = _passes(network, layer)
            print(
                f"| {name} | {layer} | {100 * behind:.0f} % | {passes:.2f} | "
                f"{1 + 4 * behind:.2f} | {'met' if passes <= 1.6 else 'missed'} |"
            )


def _passes(network: Network, layer: str) -> tuple[float, float]:
    """Of 4 traps of a layer: (passes of the whole network that they take, share of one that runs again)."""
    module, inputs = network.module, network.sample(64)
    whole = _flops(lambda: network.logits(inputs))
    ablation = ablation_at(module, Site(layer))
    traps = _traps_of(module, layer)
    with trimmed(network):
        before = record(module, ablation.target, lambda: network.logits(inputs))
        with before.replayed():
            behind = _flops(lambda: network.logits(inputs)) / whole
        options = ProbeOptions(num_probes=64)
        recordings = Recordings(network, options)
        recordings.joint(ablation)  # a few probes once a layer
        spent = _flops(lambda: divergences(network, ablation, traps, [], options, recordings))
    return spent / whole, behind


def times() -> None:
    """Seconds for 4 traps and 20 controls of a layer, one ablation a pass and many."""
    print(
        "| network | probes | in one pass | one by one | together |\n| --- | --- | --- | --- | --- |"
    )
    digits = load_digits(num_train=NUM_TRAIN, seed=SEED)
    width = digits.train_images.shape[1]
    chain = torch.nn.Sequential(
        torch.nn.Linear(width, 100), torch.nn.ReLU(), torch.nn.Linear(100, 100), torch.nn.ReLU(),
        torch.nn.Linear(100, 10),
    ).eval()  # fmt: skip
    networks = [("perceptron of the demo", gaussian_network(chain, (width,)), "0.weight", 1024)]
    for name, module, layers in _networks():
        network = Network(module, "random_tokens", _tokens, 32)
        networks.append((name, network, layers[0], 16))
    for name, network, layer, num_probes in networks:
        options = ProbeOptions(num_probes=num_probes)
        variants = _traps_of(network.module, layer, 24)
        ablation = ablation_at(network.module, Site(layer))
        seconds = []
        for most in (0, network.pass_bytes):
            asked = replace(network, pass_bytes=most)
            together = joint_of(asked, ablation, min(num_probes, batch_size(network)))
            started = time.perf_counter()
            divergences(asked, ablation, variants[:4], variants[4:], options)
            seconds.append(time.perf_counter() - started)
        at_once = min(24, together.num_variants)
        print(f"| {name} | {num_probes} | {at_once} | {seconds[0]:.2f} s | {seconds[1]:.2f} s |")


def families(out: Path) -> None:
    """From files to verdicts, and what 4 traps cost in the first and the last block: the sentence encoder of
    the demo, and a small network of every kind with one entry far outside."""
    from jobs.__main__ import run
    from zoo.io.local import LocalLocation
    from zoo.io.store import reading
    from zoo.measure.model import open_model
    from zoo.probes.model import load_network

    print(
        "| network | traps, active | first block | last block | plain replay |\n| --- | --- | --- | --- | --- |"
    )
    for name, folder, layers in _folders(out):
        catalog = out / f"catalog-{folder.name}"
        sweep = ["sweep", str(folder), "--out", str(catalog), "-j", "1", "--quiet"]
        probe = ["probe", str(catalog), "-j", "1", "--quiet", "--num-probes", "32"]
        if run(sweep) or run([*probe, "--max-traps-per-layer", "1", "--again"]):
            sys.exit(f"{name} failed")
        with views.connect(str(catalog)) as con:
            ((num, active),) = con.execute(
                "select count(*), count(*) filter (verdict = 'active') from traps "
                "where verdict <> 'unprobed'"
            ).fetchall()
        with reading(LocalLocation(str(folder))) as store:
            model = open_model(store, LayerSelection())
            network = load_network(model, ProbeOptions(device="cpu"))
        costs = [_passes(network, layer) for layer in layers]
        told = " | ".join(f"{passes:.2f}" for passes, _ in costs)
        plain = ", ".join(f"{1 + 4 * behind:.2f}" for _, behind in costs)
        print(f"| {name} | {num}, {active} | {told} | {plain} |", flush=True)


def _folders(out: Path) -> list[tuple[str, Path, list[str]]]:
    """Name, folder, and a matrix of the first and of the last block."""
    import transformers

    from jobs.demo.build import _copy_encoder

    size = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
            "num_hidden_layers": 4}  # fmt: skip
    words = {**size, "vocab_size": 512, "max_position_embeddings": 64, "num_key_value_heads": 4}
    kinds: dict[str, tuple[str, dict[str, object], str]] = {
        "GPT2": ("LMHeadModel", {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_positions": 64,
                                 "vocab_size": 512}, "transformer.h.{}.mlp.c_fc.weight"),
        "Llama": ("ForCausalLM", words, "model.layers.{}.mlp.gate_proj.weight"),
        "Mixtral": ("ForCausalLM", {**words, "num_local_experts": 4},
                    "model.layers.{}.self_attn.o_proj.weight"),
        "ViT": ("ForImageClassification", {**size, "image_size": 32, "patch_size": 8},
                "vit.layers.{}.mlp.fc1.weight"),
        "Whisper": ("ForConditionalGeneration",
                    {"d_model": 64, "encoder_layers": 4, "decoder_layers": 4, "vocab_size": 512,
                     "encoder_attention_heads": 4, "decoder_attention_heads": 4,
                     "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "max_source_positions": 100,
                     "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                     "decoder_start_token_id": 1},
                    "model.decoder.layers.{}.fc1.weight"),
    }  # fmt: skip
    encoder = out / "all-minilm-l6-v2"
    if not encoder.exists():
        _copy_encoder(encoder, print)
    blocks = [f"encoder.layer.{i}.intermediate.dense.weight" for i in (0, 5)]
    folders: list[tuple[str, Path, list[str]]] = []
    torch.manual_seed(0)
    for kind, (ending, settings, layer) in kinds.items():
        config = getattr(transformers, f"{kind}Config")(**settings)
        module = getattr(transformers, kind + ending)(config).eval()
        names = [layer.format(0), layer.format(3)]
        with torch.no_grad():
            module.get_parameter(names[0])[3, 5] += 2
        module.save_pretrained(out / kind)
        folders.append((kind, out / kind, names))
    return [*folders, ("all-minilm-l6-v2 (BERT)", encoder, blocks)]


def _networks() -> list[tuple[str, torch.nn.Module, list[str]]]:
    """An encoder and a decoder of 6 and of 24 layers with random weights: a quarter of the width of MiniLM
    (384) and an eighth of that of Pythia-410m (1,024), vocabularies in proportion."""
    from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

    networks: list[tuple[str, torch.nn.Module, list[str]]] = []
    for num_layers, width, vocabulary in ((6, 96, 7630), (24, 128, 6288)):
        shape = {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_attention_heads": 4,
            "vocab_size": vocabulary,
            "num_hidden_layers": num_layers,
        }
        blocks = sorted({0, num_layers // 4, num_layers // 2, num_layers - 3, num_layers - 1})
        names = [f"bert.encoder.layer.{i}.intermediate.dense.weight" for i in blocks]
        encoder = BertForMaskedLM(BertConfig(**shape)).eval()
        networks.append((f"encoder, {num_layers} layers", encoder, names))
        names = [f"model.layers.{i}.mlp.gate_proj.weight" for i in blocks]
        decoder = LlamaForCausalLM(LlamaConfig(**shape)).eval()
        networks.append((f"decoder, {num_layers} layers", decoder, names))
    return networks


def _tokens(count: int, generator: torch.Generator) -> dict[str, object]:
    ids = torch.randint(0, 6000, (count, 32), generator=generator)
    return {"input_ids": ids, "use_cache": False}


def _traps_of(module: torch.nn.Module, layer: str, count: int = 4) -> list[Variant]:
    matrix = module.get_parameter(layer).detach()
    modes = shuffled_modes(matrix, Permutation(1, matrix.numel()))
    return [Variant(modes, rank, 0, ("cost",)) for rank in range(count)]


def _flops(run: object) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()  # type: ignore[operator]
    return float(counter.get_total_flops())


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["cost"]:
        cost()
    elif sys.argv[1:2] == ["families"] and len(sys.argv) == 3:
        families(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["times"]:
        times()
    elif sys.argv[1:2] == ["harm"] and len(sys.argv) == 3:
        harm(Path(sys.argv[2]))
    else:
        sys.exit(__doc__)
