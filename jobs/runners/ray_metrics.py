"""Counts of a sweep as metrics of Ray, which Prometheus collects from the node of the driver.

From the driver alone, as the counters of a worker die with its node. No label by model: a series each
would be kept for ever. Nothing happens where Ray has no exporter (`ray` without `[default]`).
"""

from __future__ import annotations

METRICS = {
    "zoo_units_total": "units that have ended, by outcome (done, or the cause of the failure)",
    "zoo_layers_total": "layers of the units done",
    "zoo_bytes_read_total": "bytes that were read for the units done",
    "zoo_models_running": "models that are being measured",
    "zoo_units_left": "units that have not ended",
    "zoo_seconds_left": "seconds that the rest takes at the speed until now; 0 while that is not known",
}
"""Name and meaning; Prometheus sees them with `ray_` in front."""


class RayMeter:
    """Counts of the sweep called `sweep`; Ray has to be initialised. A `jobs.screen.progress.Meter`."""

    def __init__(self, sweep: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._tags = {"sweep": sweep}
        tags = {"zoo_units_total": ("sweep", "outcome")}
        self._counters = {
            name: Counter(name, description=meaning, tag_keys=tags.get(name, ("sweep",)))
            for name, meaning in METRICS.items()
            if name.endswith("_total")
        }
        self._gauges = {
            name: Gauge(name, description=meaning, tag_keys=("sweep",))
            for name, meaning in METRICS.items()
            if not name.endswith("_total")
        }

    def ended(self, outcome: str, *, num_layers: int, nbytes: int) -> None:
        """See `Meter`."""
        self._counters["zoo_units_total"].inc(1, {**self._tags, "outcome": outcome})
        for name, number in (("zoo_layers_total", num_layers), ("zoo_bytes_read_total", nbytes)):
            if number:
                self._counters[name].inc(number, self._tags)

    def stands(self, *, num_running: int, num_left: int, left_s: float | None) -> None:
        """See `Meter`."""
        self._gauges["zoo_models_running"].set(num_running, self._tags)
        self._gauges["zoo_units_left"].set(num_left, self._tags)
        self._gauges["zoo_seconds_left"].set(left_s or 0.0, self._tags)
