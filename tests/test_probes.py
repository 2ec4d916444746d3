"""Probes against slow oracles: J by definition on edited copies, and what is reused, added or restored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial.distance import jensenshannon
from torch.func import functional_call

from tests.tiny_models import build
from zoo.errors import UseError
from zoo.io.local import LocalLocation
from zoo.io.store import reading
from zoo.measure.model import Model, measure, open_model
from zoo.measure.row import Probe
from zoo.options import AnalysisOptions, LayerSelection
from zoo.probes import model as probing
from zoo.probes.ablation import ablation_at
from zoo.probes.divergence import jensen_shannon
from zoo.probes.layer import Variant, batches, controls, divergences
from zoo.probes.model import KnownTrap, ProbedTrap, _by_slice, load_network, probe_traps
from zoo.probes.modes import shuffled_modes
from zoo.probes.network import Network, UnprobeableError
from zoo.probes.options import ProbeOptions
from zoo.probes.plain import gaussian_network
from zoo.probes.replay import record
from zoo.probes.sites import Site, find_site
from zoo.spectral.shuffle import Permutation

FEW = ProbeOptions(num_probes=24, max_traps_per_layer=1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def spiked(*shape: int, seed: int = 0, size: float = 30.0) -> torch.Tensor:
    """A Gaussian matrix with one entry far outside."""
    matrix = normal(*shape, seed=seed) / 8
    matrix[1, 2] = size / 8
    return matrix


def put_mlp(folder: Path, *, widths: tuple[int, ...] = (40, 48, 48, 10), **config: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, torch.Tensor] = {}
    for number, (width, out) in enumerate(pairwise(widths), start=1):
        state[f"fc{number}.weight"] = spiked(out, width, seed=number)
        state[f"fc{number}.bias"] = normal(out, seed=10 + number) / 4
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "mlp", **config}))
    return folder


@contextmanager
def opened(folder: Path) -> Iterator[Model]:
    with reading(LocalLocation(str(folder))) as store:
        yield open_model(store, LayerSelection())


def traps_of(model: Model) -> list[KnownTrap]:
    return [
        KnownTrap(
            report.row.name.layer_index,
            trap.measured.replicate,
            trap.measured.trap_index,
            trap.measured.trap.eigenvalue,
        )
        for report in measure(model, AnalysisOptions())
        for trap in report.traps
    ]


def probed(folder: Path, options: ProbeOptions = FEW, **how: object) -> list[ProbedTrap]:
    with opened(folder) as model:
        network = load_network(model, options, **how)  # type: ignore[arg-type]
        return list(probe_traps(model, network, traps_of(model), options, shuffle_seed=0))


def test_the_divergence_is_that_of_its_definition() -> None:
    p, q = normal(6, 9, seed=1), normal(6, 9, seed=2)
    for temperature in (0.5, 1.0, 3.0):
        got = jensen_shannon(p, q, temperature=temperature)
        wanted = (
            jensenshannon(
                torch.softmax(p.double() / temperature, 1),
                torch.softmax(q.double() / temperature, 1),
                axis=1,
            )
            ** 2
        )
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-7)


def test_a_divergence_is_zero_between_equals_and_ln_2_between_strangers() -> None:
    logits = torch.tensor([[0.0, -torch.inf, 3.0], [1e4, 0.0, 0.0]])
    others = torch.tensor([[0.0, -torch.inf, 3.0], [0.0, 1e4, 0.0]])
    got = jensen_shannon(logits, others, temperature=1.0)
    np.testing.assert_allclose(got, [0.0, np.log(2)], atol=1e-6)
    assert jensen_shannon(logits * torch.nan, others, temperature=1.0).isnan().all()


@pytest.mark.parametrize("shape", [(40, 24), (24, 40)])
def test_modes_are_the_singular_triples_of_the_shuffled_matrix(shape: tuple[int, int]) -> None:
    matrix = spiked(*shape)
    permutation = Permutation(7, matrix.numel())
    modes = shuffled_modes(matrix, permutation)
    moved = permutation.apply(matrix.numpy().reshape(-1)).reshape(shape)
    np.testing.assert_allclose(modes.sigmas, np.linalg.svd(moved, compute_uv=False), rtol=1e-5)
    every = sum(modes.carried(rank) for rank in range(24))
    np.testing.assert_allclose(every, matrix, atol=1e-5)


def test_a_trap_that_an_accelerator_found_is_found_again() -> None:
    matrix, key = spiked(40, 24), ("t", "", "", "40x24")
    permutation = Permutation.of(key, 0, 0, 5, size=matrix.numel(), kind="philox")
    eigenvalue = shuffled_modes(matrix, permutation).eigenvalue(0)
    trap = KnownTrap(0, 0, 1, eigenvalue)
    ((replicate, place, known, modes),) = _by_slice(matrix[None], [trap], key, 5)
    assert (replicate, place, known) == (0, 0, [(trap, 0)])
    assert modes.permutation == permutation


def test_bulk_modes_are_used_again_with_other_random_matrices_where_there_are_few() -> None:
    modes = shuffled_modes(spiked(40, 9), Permutation(1, 360))
    chosen = controls(modes, 1, 20, ("a",))
    assert len({(c.rank, c.draw) for c in chosen}) == 20
    assert {c.rank for c in chosen} == set(range(1, 9))
    first, again = (c for c in chosen if c.rank == 5)
    assert not torch.equal(first.change(), again.change())


@pytest.mark.parametrize("kind", ["whole", "rows", "columns", "transposed", "expert", "kernel"])
def test_a_site_is_found_by_its_values_and_changed_there_alone(kind: str) -> None:
    parameter = {"expert": normal(3, 8, 6), "kernel": normal(8, 6, 3, 3)}.get(kind, normal(8, 6))
    matrix = {
        "whole": lambda p: p, "rows": lambda p: p[[5, 1, 2]], "columns": lambda p: p[:, 2:5],
        "transposed": lambda p: p.T, "expert": lambda p: p[1], "kernel": lambda p: p[:, :, 1, 2],
    }[kind](parameter).clone()  # fmt: skip
    site = find_site({"other": normal(8, 6, seed=9), "p": parameter}, matrix, name="x")
    assert site is not None and site.parameter == "p"
    before, change = parameter.clone(), normal(*matrix.shape, seed=5)
    site.add(parameter, change)
    found = find_site({"p": parameter}, matrix + change, name="x")
    assert found is not None and (found.index, found.place) == (site.index, site.place)
    assert int((parameter != before).sum()) == matrix.numel()


def test_a_matrix_that_no_parameter_holds_has_no_site() -> None:
    assert find_site({"p": normal(8, 6)}, normal(8, 6, seed=1), name="p") is None


def test_of_equal_matrices_the_one_of_a_like_name_is_taken() -> None:
    held = {"b.1.weight": torch.ones(4, 4), "b.2.weight": torch.ones(4, 4)}
    site = find_site(held, torch.ones(4, 4), name="model.b.2.weight")
    assert site == Site("b.2.weight")


def variants_of(matrix: torch.Tensor) -> list[Variant]:
    modes = shuffled_modes(matrix, Permutation(3, matrix.numel()))
    return [Variant(modes, rank, 0, ("layer", 0, 0, 0)) for rank in (0, 4)]


def by_definition(
    network: Network, name: str, changes: Mapping[str, torch.Tensor], options: ProbeOptions
) -> np.ndarray:
    """J of every probe on an edited copy of the weights."""
    state = {n: p.detach() for n, p in network.module.named_parameters()}
    edited = {**state, **{n: state[n] + change for n, change in changes.items()}}
    values = []
    for inputs in batches(network, options):
        kwargs = dict(inputs)
        args = (kwargs.pop("input"),) if "input" in kwargs else ()
        with torch.no_grad():
            after = functional_call(network.module, edited, args, kwargs)
        logits = after if isinstance(after, torch.Tensor) else after.logits
        before = network.logits(inputs)[:, -1]
        last = logits if logits.ndim == 2 else logits[:, -1]
        values.append(jensen_shannon(before, last, temperature=options.temperature))
    return torch.cat(values).double().numpy()


LAYERS = {
    "bert": "layer.1.attention.self.query.weight",
    "gpt2": "h.1.mlp.c_fc.weight",
    "llama": "layers.0.mlp.down_proj.weight",
    "t5": "block.1.layer.1.EncDecAttention.v.weight",
    "vit": "layers.1.mlp.fc2.weight",
    "whisper": "encoder.layers.0.fc1.weight",
    "mixtral": "layers.1.self_attn.o_proj.weight",
}


@pytest.mark.parametrize("family", LAYERS)
def test_a_probe_is_what_an_edited_copy_of_the_network_gives(family: str, tmp_path: Path) -> None:
    build(family).save_pretrained(tmp_path)
    with opened(tmp_path) as model:
        network = load_network(model, FEW)
        names = dict(network.module.named_parameters())
        name = next(n for n in names if n.endswith(LAYERS[family]))
        variants = variants_of(names[name].detach())
        result = divergences(network, ablation_at(network.module, Site(name)), variants, [], FEW)
        for values, variant in zip(result.of_traps, variants, strict=True):
            wanted = by_definition(network, name, {name: variant.change()}, FEW)
            np.testing.assert_allclose(values, wanted, rtol=2e-2, atol=3e-7)
    assert result.is_used


@pytest.mark.parametrize("family", ["bert", "mixtral"])
def test_only_the_rest_of_the_network_runs_again(family: str, tmp_path: Path) -> None:
    network = build(family)
    last = max(
        n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear) and "1." in n
    )
    counted: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda m, a, name=name: counted.append(name))
    ids = torch.randint(0, 60, (3, 5))

    def forward() -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = network(ids, use_cache=False).logits
        return logits

    before = record(network, network.get_submodule(last), forward)
    whole, counted[:] = len(counted), []
    handle = network.get_submodule(last).register_forward_hook(lambda m, a, out: out + 1)
    with before.replayed():
        after = forward()
    handle.remove()
    assert len(counted) < whole
    assert "forward" not in vars(next(iter(before.kept)))
    assert before.logits is not None and torch.equal(forward(), before.logits)
    assert not torch.equal(after, before.logits)


def test_experts_in_a_stack_are_restored_to_the_bit(tmp_path: Path) -> None:
    network = build("mixtral")
    name = next(n for n, p in network.named_parameters() if p.ndim == 3)
    parameter = network.get_parameter(name)
    before = parameter.detach().clone()
    ablation = ablation_at(network, Site(name, index=2))
    assert not ablation.is_added
    with ablation.by(normal(*parameter.shape[1:])):
        assert not torch.equal(parameter, before)
        assert torch.equal(parameter[[0, 1, 3]], before[[0, 1, 3]])
    assert torch.equal(parameter, before)


def test_a_weight_in_two_places_changes_in_both(tmp_path: Path) -> None:
    build("gpt2").save_pretrained(tmp_path)  # its head is its embedding
    with opened(tmp_path) as model:
        network = load_network(model, FEW)
        table = network.module.get_parameter("transformer.wte.weight")
        variants = variants_of(table.detach())
        ablation = ablation_at(network.module, Site("transformer.wte.weight"))
        assert ablation.is_shared
        got = divergences(network, ablation, variants, [], FEW).of_traps[0]
        changes = {"transformer.wte.weight": variants[0].change()}
        wanted = by_definition(network, "", changes, FEW)
        np.testing.assert_allclose(got, wanted, rtol=2e-2, atol=3e-7)


def test_a_perceptron_is_probed_from_its_files_alone(tmp_path: Path) -> None:
    probes = [p for p in probed(put_mlp(tmp_path)) if p.probe.verdict != "unprobed"]
    assert {p.trap.layer_index for p in probes} == {0, 1, 2}
    for p in probes:
        assert p.probe.jsd is not None and 0 <= p.probe.jsd <= np.log(2)
        assert p.probe.jsd_stderr is not None and p.probe.jsd_control_p95 is not None
        assert (p.probe.probe_kind, p.probe.num_probes, p.probe.num_controls) == (
            "gaussian",
            24,
            20,
        )
        is_active = p.probe.jsd > p.probe.jsd_control_p95
        assert p.probe.verdict == ("active" if is_active else "benign")


def test_what_is_capped_says_so(tmp_path: Path) -> None:
    reasons = [p.probe.probe_reason for p in probed(put_mlp(tmp_path))]
    assert any("max_traps_per_layer: 1" in str(reason) for reason in reasons)
    late = probed(tmp_path, ProbeOptions(num_probes=8, budget_s=0.0))
    assert any("budget_s" in str(p.probe.probe_reason) for p in late)


def test_probes_are_the_same_whichever_traps_are_asked_for(tmp_path: Path) -> None:
    whole = probed(put_mlp(tmp_path))
    with opened(tmp_path) as model:
        network = load_network(model, FEW)
        traps = [t for t in traps_of(model) if t.layer_index == 1]
        alone = list(probe_traps(model, network, traps, FEW, shuffle_seed=0))
    assert alone == [p for p in whole if p.trap.layer_index == 1]


def test_weights_other_than_the_sweeps_are_noticed(tmp_path: Path) -> None:
    put_mlp(tmp_path)
    with opened(tmp_path) as model:
        network = load_network(model, FEW)
        traps = [KnownTrap(0, 0, 1, 12345.0)]
        (only,) = probe_traps(model, network, traps, FEW, shuffle_seed=0)
    assert "are not in its shuffle" in str(only.probe.probe_reason)


def test_logits_that_are_not_finite_are_a_reason(tmp_path: Path) -> None:
    folder = put_mlp(tmp_path, input_std=1e38)
    reasons = {str(p.probe.probe_reason) for p in probed(folder) if p.trap.replicate == 0}
    assert any("not finite" in reason for reason in reasons)
    assert all(p.probe.verdict == "unprobed" for p in probed(folder))


class Lazy(torch.nn.Module):
    """Holds a layer that its forward pass never uses."""

    def __init__(self) -> None:
        super().__init__()
        self.used = torch.nn.Linear(40, 10)
        self.spare = torch.nn.Linear(40, 10)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.used(values)
        return out


def lazy(config: dict[str, object]) -> torch.nn.Module:
    """A user's factory."""
    return Lazy()


def test_a_layer_that_the_network_never_uses_says_so(tmp_path: Path) -> None:
    state = {f"{n}.weight": spiked(10, 40, seed=i) for i, n in enumerate(("used", "spare"))}
    save_file({**state, "used.bias": normal(10), "spare.bias": normal(10)},
              tmp_path / "model.safetensors")  # fmt: skip
    by_layer: dict[int, Probe] = {}
    for p in probed(tmp_path, factory="tests.test_probes:lazy"):
        by_layer.setdefault(p.trap.layer_index, p.probe)
    jsd = sorted((p.jsd, p.probe_reason) for p in by_layer.values())  # type: ignore[type-var]
    assert jsd[0] == (0.0, "the forward pass does not use this layer")
    assert jsd[1][0] > 0


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "bert"}, "names no architecture"),
        ({"model_type": "nosuch", "architectures": ["NoSuchModel"]}, "knows no NoSuchModel"),
        ({"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 32,
          "num_attention_heads": 4, "num_hidden_layers": 1}, "not in the checkpoint"),
        ({"model_type": "mlp", "activation": "sine"}, "activation 'sine'"),
    ],
)  # fmt: skip
def test_a_network_that_cannot_be_built_says_why(
    config: dict[str, object], words: str, tmp_path: Path
) -> None:
    put_mlp(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with opened(tmp_path) as model, pytest.raises(UnprobeableError, match=words):
        load_network(model, FEW)


def test_a_factory_that_cannot_be_imported_is_bad_use(tmp_path: Path) -> None:
    with opened(put_mlp(tmp_path)) as model, pytest.raises(UseError, match=r"package\.module"):
        load_network(model, FEW, factory="nosuch.module:make")


def test_a_network_that_fails_on_its_inputs_says_so() -> None:
    network = gaussian_network(torch.nn.Linear(4, 3), (5,))
    with pytest.raises(UnprobeableError, match="fails on random inputs"):
        network.logits(next(iter(batches(network, FEW))))


class Says(torch.nn.Module):
    """Gives whatever it was made with, beside a layer."""

    def __init__(self, make: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.make = make

    def forward(self, values: torch.Tensor) -> object:
        return self.make(self.layer(values))


@pytest.mark.parametrize(
    "make",
    [
        lambda z: {"last_hidden_state": z * 0, "logits": z},
        lambda z: (z, z * 0),
        lambda z: {"start_logits": z, "end_logits": z * 0},
    ],
)
def test_of_several_outputs_the_documented_one_is_compared(
    make: Callable[[torch.Tensor], object],
) -> None:
    network = gaussian_network(Says(make), (4,))
    inputs = network.sample(5)
    wanted = network.module.get_submodule("layer")(inputs["input"])
    assert torch.equal(network.logits(inputs)[:, 0], wanted.detach())


@pytest.mark.parametrize(
    "make", [lambda z: {"loss": z.sum()}, lambda z: z.argmax(-1), lambda z: None]
)
def test_a_network_without_logits_says_so(make: Callable[[torch.Tensor], object]) -> None:
    network = gaussian_network(Says(make), (4,))
    with pytest.raises(UnprobeableError, match="gives no logits"):
        network.logits(network.sample(5))


def test_a_tied_weight_says_that_all_its_places_change(tmp_path: Path) -> None:
    model = build("gpt2")
    with torch.no_grad():
        model.get_parameter("transformer.wte.weight")[3, 4] += 3
    model.save_pretrained(tmp_path)
    with opened(tmp_path) as checkpoint:
        table = next(s.layer_index for s in checkpoint.specs if "wte" in s.tensor)
        traps = [trap for trap in traps_of(checkpoint) if trap.layer_index == table][:1]
        network = load_network(checkpoint, FEW)
        (only,) = probe_traps(checkpoint, network, traps, FEW, shuffle_seed=0)
    assert only.probe.probe_reason == "the weight is tied: all places change"
    assert only.probe.verdict in ("active", "benign")


def test_probes_are_seeded_and_cut_into_batches_by_their_size_alone() -> None:
    network = gaussian_network(torch.nn.Linear(4, 3), (4,))
    wide = Network(network.module, "gaussian", network.draw, 1 << 13)
    options = ProbeOptions(num_probes=5)
    assert [len(b["input"]) for b in batches(wide, options)] == [2, 2, 1]
    again = [b["input"] for b in batches(wide, options)]
    assert all(
        torch.equal(a["input"], b) for a, b in zip(batches(wide, options), again, strict=True)
    )
    other = next(iter(batches(wide, ProbeOptions(num_probes=5, seed=1))))["input"]
    assert not torch.equal(other, again[0])


@pytest.mark.parametrize(
    "wrong", [{"num_probes": 1}, {"temperature": 0.0}, {"num_controls": 5}, {"length": 0}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UseError, match=next(iter(wrong))):
        ProbeOptions(**wrong)  # type: ignore[arg-type]


def test_traps_beyond_the_cap_are_no_bulk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = spiked(48, 40, seed=1)
    matrix[7, 9] = matrix[20, 30] = 3.0
    save_file({"fc1.weight": matrix}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mlp"}))
    bulks: list[int] = []
    whole = probing.controls
    monkeypatch.setattr(
        probing,
        "controls",
        lambda modes, num, *more: (bulks.append(num), whole(modes, num, *more))[1],
    )
    probes = probed(tmp_path)
    assert sum(p.trap.replicate == 0 for p in probes) == 3
    assert bulks == [3]  # one trap is probed, three are no control
