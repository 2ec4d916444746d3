"""What KubeRay's objects may hold, written by hand after `ray-operator/apis/ray/v1/*_types.go` (1.5).

Strict: a field that is not here is refused. The pods within are checked by the Kubernetes schemas of the
package `kubernetes-validate`, which has none of Ray's own.
"""

from __future__ import annotations

from typing import Any


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_POD = {"type": "object", "required": ["spec"]}
_CRON = {"type": "string", "pattern": r"^\S+ \S+ \S+ \S+ \S+$"}
_METADATA = _object(("name",), name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
                    labels=_TEXTS, annotations=_TEXTS)  # fmt: skip

_HEAD = _object(
    ("rayStartParams", "template"), serviceType=_TEXT, rayStartParams=_TEXTS, template=_POD
)
_WORKERS = _object(
    ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
    groupName=_TEXT, replicas=_COUNT, minReplicas=_COUNT, maxReplicas=_COUNT, numOfHosts=_COUNT,
    idleTimeoutSeconds=_COUNT, suspend={"type": "boolean"}, rayStartParams=_TEXTS, template=_POD,
)  # fmt: skip
_CLUSTER = _object(
    ("headGroupSpec",),
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object(("mode",), mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_object((), idleTimeoutSeconds=_COUNT, version={"enum": ["v1", "v2"]},
                              upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)  # fmt: skip
_JOB = _object(
    ("entrypoint", "rayClusterSpec"),
    entrypoint=_TEXT, runtimeEnvYAML=_TEXT, jobId=_TEXT, metadata=_TEXTS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterConfig=_object((), backoffLimit=_COUNT), submitterPodTemplate=_POD,
    shutdownAfterJobFinishes={"type": "boolean"}, ttlSecondsAfterFinished=_COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1}, backoffLimit=_COUNT,
    preRunningDeadlineSeconds={"type": "integer", "minimum": 1},
    suspend={"type": "boolean"}, rayClusterSpec=_CLUSTER,
)  # fmt: skip

RAY_SCHEMAS: dict[str, dict[str, Any]] = {
    "RayJob": _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"}, metadata=_METADATA, spec=_JOB,
    ),
    "RayCronJob": _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"}, kind={"const": "RayCronJob"}, metadata=_METADATA,
        spec=_object(("schedule", "jobTemplate"), schedule=_CRON, timeZone=_TEXT,
                     suspend={"type": "boolean"}, jobTemplate=_JOB),
    ),
}  # fmt: skip

SYSTEMD: dict[str, set[str]] = {
    "Unit": {"Description", "Documentation", "Wants", "After", "Requires"},
    "Service": {
        "Type", "User", "Group", "ExecStart", "SuccessExitStatus", "Restart", "RestartSec",
        "RestartPreventExitStatus", "RestartForceExitStatus", "TimeoutStopSec", "KillMode",
        "LoadCredential", "Environment", "NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp",
        "PrivateDevices", "ProtectKernelTunables", "ProtectControlGroups", "RestrictSUIDSGID",
        "CapabilityBoundingSet", "StateDirectory", "CacheDirectory", "Nice", "IOSchedulingClass",
    },
    "Timer": {"OnCalendar", "Persistent", "RandomizedDelaySec", "AccuracySec", "Unit"},
    "Install": {"WantedBy"},
}  # fmt: skip
"""Sections of units of systemd with the keys that ours may have, after systemd.exec(5), .service(5) and
.timer(5)."""
