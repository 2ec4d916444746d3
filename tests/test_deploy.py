"""The files of `deploy/` against their schemas, and what they must not ask for."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from jobs.__main__ import run
from jobs.cli import app
from jobs.spec.load import parse_spec
from jobs.sweep.loop import SweepResult
from jobs.sweep.summary import as_json, as_markdown, facts, last_line
from jobs.sweep.tally import FailedUnit
from tests.deploy_schemas import RAY_SCHEMAS, SYSTEMD

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = "1.35"
"""Version whose schemas are asked."""


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield f"{path.name}:{document['kind']}", document


def pods(value: object) -> Iterator[dict[str, Any]]:
    """Every pod template within an object."""
    if isinstance(value, dict):
        if "containers" in value.get("spec", {} if "spec" not in value else value["spec"] or {}):
            yield value
        for inner in value.values():
            yield from pods(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pods(inner)


OBJECTS = dict(objects())


def check(document: dict[str, Any]) -> None:
    """Raises what is wrong with an object, and with the pods in one of Ray's."""
    if document["kind"] not in RAY_SCHEMAS:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    jsonschema.validate(document, RAY_SCHEMAS[document["kind"]])
    for template in pods(document):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **template}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_of_kubernetes_fit_their_schemas(name: str) -> None:
    check(OBJECTS[name])


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("cronjob.yaml:CronJob", ("spec", "concurencyPolicy"), "Forbid"),
        ("rayjob.yaml:RayJob", ("spec", "shutdownAfterFinish"), True),
        ("rayjob.yaml:RayJob", ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "image"), "x"),
        ("raycronjob.yaml:RayCronJob", ("spec", "schedule"), "nightly"),
    ],
)  # fmt: skip
def test_a_slip_in_an_object_is_seen(name: str, path: tuple[str, ...], value: object) -> None:
    document = json.loads(json.dumps(OBJECTS[name]))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check(document)


def test_no_pod_asks_for_a_privilege() -> None:
    templates = [template["spec"] for document in OBJECTS.values() for template in pods(document)]
    assert len(templates) >= 8
    for spec in templates:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec.get("volumes", ()))
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]} and not context.get("privileged")
            assert "limits" in container["resources"]


def test_no_secret_is_in_a_file_or_an_environment_of_deploy() -> None:
    for path in DEPLOY.rglob("*"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        assert not re.search(r"hf_[A-Za-z0-9]{8}|AKIA|HF_TOKEN\s*[=:]|password\s*[:=]", text), path
    named = {env["name"] for document in OBJECTS.values() for template in pods(document)
             for container in template["spec"]["containers"] for env in container.get("env", ())}  # fmt: skip
    assert named == {"HF_TOKEN_PATH"}  # a mounted file


def test_nights_do_not_overlap_and_clusters_ask_for_a_token() -> None:
    for name, document in OBJECTS.items():
        if name.endswith(":CronJob"):
            assert document["spec"]["concurrencyPolicy"] == "Forbid"
    for job in (OBJECTS["rayjob.yaml:RayJob"]["spec"],
                OBJECTS["raycronjob.yaml:RayCronJob"]["spec"]["jobTemplate"]):  # fmt: skip
        cluster = job["rayClusterSpec"]
        assert cluster["authOptions"] == {"mode": "token"}
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert cluster["headGroupSpec"].get("serviceType", "ClusterIP") == "ClusterIP"


def test_the_cluster_of_ray_up_fits_rays_own_schema() -> None:
    import ray.autoscaler

    schema = json.loads(Path(ray.autoscaler.__path__[0], "ray-schema.json").read_text())
    cluster = yaml.safe_load((DEPLOY / "ray" / "cluster.yaml").read_text())
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "max_worker": 8}, schema)
    head = cluster["available_node_types"][cluster["head_node_type"]]
    workers = cluster["available_node_types"]["gpu_worker"]
    assert head["resources"] == {"CPU": 0} and workers["min_workers"] == 0
    assert workers["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    starts = [c for c in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"]
              if "ray start" in c]  # fmt: skip
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


@pytest.mark.parametrize("name", ["zoo-nightly.service", "zoo-nightly.timer"])
def test_units_of_systemd_have_known_keys(name: str) -> None:
    section = ""
    for line in (DEPLOY / "systemd" / name).read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif line and not line.startswith("#"):
            assert line.split("=", 1)[0] in SYSTEMD[section], f"{name}: [{section}] {line}"
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(DEPLOY / "systemd" / name)],
                              capture_output=True, text=True, check=False)  # fmt: skip
        problems = [line for line in done.stderr.splitlines() if "not executable" not in line]
        assert not problems


def commands() -> Iterator[str]:
    """Every `zoo` command in the files."""
    for path in sorted(DEPLOY.rglob("*")):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for match in re.finditer(r"(?:/bin/|[ '])(zoo (?:sweep|plan) [^;'\n>]*)", text):
            yield match[1].replace("$RAY_HEAD_IP", "x").split(" >>")[0].strip()
    args = OBJECTS["cronjob.yaml:CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    yield shlex.join(["zoo", *args["containers"][0]["args"]])


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_in_the_files_parses(command: str) -> None:
    words = shlex.split(command.split("`")[0])[1:]
    app.parse_args(words, exit_on_error=False, print_error=False)


def test_the_spec_of_the_nightly_is_one(tmp_path: Path) -> None:
    spec = parse_spec((DEPLOY / "nightly.toml").read_text(), folder=tmp_path)
    assert spec.sweep.name == "nightly" and len(spec.source) == 2


def test_the_dockerfile_is_built_of_known_steps_and_runs_as_nobody_special() -> None:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0] != "#"]
    known = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "ENTRYPOINT", "CMD", "USER"}
    assert {word for word, _ in steps} <= known
    stages: dict[str, list[list[str]]] = {}
    for step in steps:
        if step[0] == "FROM":
            match = re.fullmatch(r"(\S+) AS (\w+)", step[1])
            assert match and (match[1] in stages or ":" in match[1])
            stages[match[2]] = []
        stages[match[2]].append(step)
    assert set(stages) == {"base", "cpu", "cuda"}
    for name in ("cpu", "cuda"):
        assert stages[name][-1] == ["USER", "1000"]
        assert any(
            "constraints.txt" in argument for word, argument in stages[name] if word == "RUN"
        )
    root = DEPLOY.parent
    copied = [source for word, argument in steps if word == "COPY" for source in argument.split()[:-1]]  # fmt: skip
    assert all((root / source).exists() for source in copied)
    ignored = (root / ".dockerignore").read_text().split()
    assert not any(source.split("/")[0] in ignored for source in copied)


RESULT = SweepResult(
    sweep_id="s", num_listed=3, num_done=1, num_skipped=0, num_failed=2, num_taken_over=0,
    num_failed_before=0, interrupted=False, seconds=1.25, nbytes=2048,
    failures=(FailedUnit("a/b", 7, "data", "no | header"), FailedUnit("a/c", None, "bug", "x")),
)  # fmt: skip


def test_the_summary_and_the_last_line_of_a_sweep_are_for_machines() -> None:
    said = facts(RESULT, catalog="cat", name="nightly", exit_code=1)
    night = json.loads(as_json(said))
    assert night["failed_by_cause"] == {"bug": 1, "data": 1} and night["exit_code"] == 1
    assert night["failures"][1] == {"model_id": "a/c", "step": None, "cause": "bug", "message": "x"}
    assert last_line(said) == (
        "zoo-sweep status=done exit_code=1 listed=3 done=1 taken_over=0 skipped=0 failed=2 "
        "failed_before=0 seconds=1.25 nbytes=2048 sweep_id=s causes=bug:1,data:1"
    )
    page = as_markdown(said).splitlines()
    assert page[0] == "## Sweep nightly: done"
    assert "| 3 | 1 | 0 | 0 | 2 | 0 |" in page and "| a/b | 7 | data | no \\| header |" in page


def test_a_sweep_prints_its_summary_to_standard_output_and_the_last_line_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    out = str(tmp_path / "cat")
    assert run(["sweep", str(tmp_path / "empty"), "--out", out, "--limit", "0", "--summary", "json"]) == 0  # fmt: skip
    said = capsys.readouterr()
    assert json.loads(said.out)["catalog"] == out
    assert said.err.splitlines()[-1].startswith("zoo-sweep status=done exit_code=0 listed=1 ")
