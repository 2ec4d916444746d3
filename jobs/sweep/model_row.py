"""The row of `models`: what is known of one finished unit, from its source, its checkpoint and its tasks."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from jobs.sweep.task_rows import ModelFacts, TaskRows
from jobs.units.unit import Unit
from zoo.columns import (
    BYTES,
    COUNT,
    JSON,
    NAT,
    ONE,
    REQUIRED,
    SECONDS,
    STEPS,
    TEXT,
    UTC_TIME,
    Group,
    Since,
)


@dataclass(frozen=True, slots=True)
class ModelRow(Group):
    """A row of `models`, without the keys of its unit."""

    name: Annotated[str, TEXT]
    """Last piece of model_id."""
    author: Annotated[str | None, TEXT]
    """Owner of the repository; NULL for folders."""
    library: Annotated[str | None, TEXT]
    """Library named by the model card: `transformers`, ..."""
    pipeline_tag: Annotated[str | None, TEXT]
    """Task named by the model card."""
    architecture: Annotated[str | None, TEXT]
    """First of the config's `architectures`."""
    licence: Annotated[str | None, TEXT]
    """Licence named by the model card."""
    downloads: Annotated[int | None, COUNT]
    """Downloads of the last 30 days, at plan time."""
    likes: Annotated[int | None, COUNT]
    """Likes, at plan time."""
    base_model: Annotated[str | None, TEXT]
    """Model id this one was derived from."""
    last_modified: Annotated[datetime | None, UTC_TIME]
    """Last change of the repository."""
    family: Annotated[str | None, TEXT]
    """Family of architectures: `llama`, `bert`, ..."""
    step: Annotated[int | None, STEPS]
    """Training step of the revision; NULL outside trajectories."""
    num_params: Annotated[int | None, COUNT]
    """Parameters of the checkpoint."""
    layers_analysed: Annotated[int, COUNT, REQUIRED]
    """Layers with status `ok`, as in the two below of the model's own weights."""
    layers_skipped: Annotated[int, COUNT, REQUIRED]
    """Layers skipped with a reason."""
    layers_failed: Annotated[int, COUNT, REQUIRED]
    """Layers that failed with a reason."""
    bytes_read: Annotated[int, BYTES]
    """Bytes fetched, headers included."""
    bytes_analysed: Annotated[int, BYTES]
    """Bytes of the tensors analysed."""
    requests: Annotated[int, COUNT]
    """Requests (or reads) made."""
    seconds: Annotated[float, SECONDS]
    """Wall time of the unit."""
    versions: Annotated[str, JSON]
    """Versions of the packages that computed the numbers; `refit`: of those that computed the ones that
    follow from spectra anew."""
    host: Annotated[str, TEXT]
    """Label of the machine, as the sweep chose to name it."""
    device: Annotated[str | None, TEXT]
    """Where spectra were computed: `cpu`, `cuda`."""
    committed_at: Annotated[datetime, UTC_TIME, REQUIRED]
    """When the unit was finished."""
    source: Annotated[str, TEXT]
    """The spec's source the unit came from."""
    base_revision: Annotated[str | None, TEXT, Since(2)]
    """Revision of the base model that an adapter was put on, or whose weights were subtracted in the rows
    of W − W_base; NULL where the numbers depend on no other model."""
    options_key: Annotated[str, TEXT, Since(2)]
    """Hash of all that analysis_key hashes, but for the decoders: known before any header is read,
    and equal for models swept with equal options. NULL in rows older than this column: analysis_key."""
    decoders: Annotated[str, TEXT, Since(2)]
    """Decoders that its layers go through, as `layers` names them, separated by commas; `unknown`
    among them: a tensor is refused. NULL in rows older than this column."""
    number_versions: Annotated[str | None, JSON, Since(2)]
    """Versions of metric groups and decoders that are hashed in analysis_key, those above 1; NULL:
    there are none."""
    asked: Annotated[str, JSON, Since(2)]
    """What the numbers were asked for with: options, choice of layers, versions of the numbers and their
    groups, without a base model. Numbers of models with the same can be compared. NULL in rows older
    than this column."""
    deltas_analysed: Annotated[int | None, COUNT, Since(2)]
    """Layers of W − W_base with status `ok`; NULL where these were not asked for, or no base is known."""
    deltas_skipped: Annotated[int | None, COUNT, Since(2)]
    """Those that were skipped: equal to the base, of another shape, or not in it."""
    deltas_failed: Annotated[int | None, COUNT, Since(2)]
    """Those that failed with a reason."""
    weights_key: Annotated[str | None, TEXT, Since(2)]
    """Hash of the weight files, of an adapter and of its base, by what their listing says of the bytes:
    equal weights have equal ones. NULL where it does not tell, and in rows older than this column."""
    settings_key: Annotated[str | None, TEXT, Since(2)]
    """Hash of the config files beside the weights, without what decides no number (where the model
    came from, which version of a library wrote it)."""
    measured_at: Annotated[str | None, TEXT, Since(2)] = None
    """`model_id@revision` where the weights were read, when that was done for another row of this table:
    equal weights under another commit, id or path, or the analysis that a refit started from. Times,
    bytes, host and device are of that measurement. NULL where they were read for this row."""

    activation_sparsity: Annotated[float | None, ONE, Since(2)] = None
    """Share of the activations below 0.1 behind the activation functions, on the probes; NULL until
    `zoo probe --diagnostics`, and where the network has no such module."""
    circuit_complexity: Annotated[float | None, NAT, Since(2)] = None
    """Approximate local circuit complexity: KL of the outputs when a tenth of all weights is set to 0, the
    mean over the probes; NULL likewise."""
    diagnostics_data: Annotated[str | None, TEXT, Since(2)] = None
    """What the two above were measured on: `random_tokens`, `gaussian`."""
    diagnostics_reason: Annotated[str | None, TEXT, Since(2)] = None
    """Why they are NULL although they were asked for."""
    num_params_active: Annotated[int | None, COUNT, Since(3)] = None
    """Parameters used for one token: all but the experts that a token is not sent to. NULL where the
    config does not say how many it is sent to, and in rows older than this column."""
    num_params_embedding: Annotated[int | None, COUNT, Since(3)] = None
    """Parameters in tables of tokens, positions and segments. NULL in rows older than this column."""

    pruned_at: Annotated[datetime | None, UTC_TIME, Since(3)] = None
    """When `zoo prune` gave the unit up. Such a row is a tombstone: no view shows it or any row of its unit,
    and the next compaction takes them all away. So NULL in every row that is shown."""

    @classmethod
    def of(cls, unit: Unit, tasks: Sequence[TaskRows], *, versions: str) -> ModelRow:
        """The row of a unit that is finished now; `tasks` are all of its, in order of their groups.

        What a Hub says of the repository comes before what the files say.
        """
        target, hub = unit.target, unit.target.metadata
        base = target.base if unit.selection.deltas else None
        facts = next((task.facts for task in tasks if task.facts), None) or ModelFacts()
        layers = [row for task in tasks for row in task.layers]
        own = [row for row in layers if row.name.delta_base is None]
        status = [row.measured.outcome.status for row in own]
        deltas = [r.measured.outcome.status for r in layers if r.name.delta_base is not None]
        devices = {row.measured.effort.device for row in layers if row.measured.effort}
        return cls(
            name=target.model_id.rsplit("/", 1)[-1],
            author=hub.author,
            library=hub.library or facts.library,
            pipeline_tag=hub.pipeline_tag or facts.pipeline_tag,
            architecture=hub.architecture or facts.architecture,
            licence=hub.licence or facts.licence,
            downloads=hub.downloads,
            likes=hub.likes,
            base_model=hub.base_model or facts.base_model or (base.model_id if base else None),
            last_modified=hub.last_modified,
            family=target.family or facts.family,
            step=target.step,
            num_params=facts.num_params,
            layers_analysed=status.count("ok"),
            layers_skipped=status.count("skipped"),
            layers_failed=status.count("failed"),
            bytes_read=sum(task.bytes_read for task in tasks),
            bytes_analysed=sum(row.reading.bytes_read for row in layers),
            requests=sum(task.requests for task in tasks),
            seconds=sum(task.seconds for task in tasks),
            versions=versions,
            host=platform.machine(),
            device=", ".join(sorted(devices)) or None,
            committed_at=datetime.now(UTC),
            source=target.source,
            base_revision=target.base_revision or None,
            options_key=unit.options_key,
            decoders=", ".join(unit.decoders or ()),
            number_versions=unit.number_versions.to_json(),
            asked=unit.asked,
            deltas_analysed=deltas.count("ok") if deltas else None,
            deltas_skipped=deltas.count("skipped") if deltas else None,
            deltas_failed=deltas.count("failed") if deltas else None,
            weights_key=next((task.weights_key for task in tasks), None),
            settings_key=next((task.settings_key for task in tasks), None),
            num_params_active=facts.num_params_active,
            num_params_embedding=facts.num_params_embedding,
        )
