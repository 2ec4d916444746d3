"""The trainable tensors of a stored model, with what a training setting is made from."""

from __future__ import annotations

import re
from dataclasses import dataclass

import duckdb

from catalog.read.model_page import find_model
from catalog.read.query import ask_rows

_TENSORS = """
with own as (
    select * from layers_latest
    where model_id = $model and revision = $revision and status = 'ok' and tied_to is null
),
chosen as (  -- of a fused tensor its parts alone
    from own anti join (select distinct tensor, expert from own where part is not null) as parts
        on own.part is null and own.tensor = parts.tensor
        and own.expert is not distinct from parts.expert
)
select
    tensor, min(layer_index) as layer_index, any_value(role) as role, any_value(block) as block,
    sum(num_params) as num_params,
    sum(alpha_hill * num_params) / nullif(sum(num_params) filter (where alpha_hill is not null), 0)
        as alpha_hill,
    sum(spectrum_snr / sqrt(lambda_max) * num_params)
        / nullif(sum(num_params) filter (where spectrum_snr is not null and lambda_max > 0), 0) as snr
from chosen
group by tensor
order by layer_index
"""


@dataclass(frozen=True, slots=True)
class Trainable:
    """One tensor with at least one measured layer; of several (parts, experts) means by their parameters."""

    tensor: str
    role: str | None
    block: int | None
    num_params: int
    alpha_hill: float | None
    snr: float | None
    """`spectrum_snr` over √λ_max, which is what Spectrum ranks by; NULL before `zoo refit` in rows that are
    older than the column."""

    @property
    def kind(self) -> str:
        """What it has in common with the same tensor of other blocks: its name, numbers written `#`."""
        return re.sub(r"\d+", "#", self.tensor)


def trainable_of(con: duckdb.DuckDBPyConnection, model: str) -> tuple[str, list[Trainable]]:
    """(`id@revision`, its tensors in the order of the model). QueryError for a model that is not there."""
    ref = find_model(con, model)
    answer = ask_rows(con, _TENSORS, {"model": ref.model_id, "revision": ref.revision})
    tensors = [
        Trainable(
            row["tensor"],
            row["role"],
            row["block"],
            row["num_params"],
            row["alpha_hill"],
            row["snr"],
        )
        for row in answer.to_pylist()
    ]
    return f"{ref.model_id}@{ref.revision}", tensors
