"""How far the catalog is: listed, done, failed by cause, missing, cost. From the tables alone."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from catalog.read.query import ask

_STATUS = """
with last_sweeps as (
    select * from sweeps where sweep_id in (select sweep_id from listed)
),
facts as (
    select 10 as place, 'units' as topic, 'listed' as item, count(*) as value, 'units' as unit
    from listed
    union all
    select 11, 'units', 'done', count(*), 'units'
    from listed semi join models using (model_id, revision, analysis_key)
    union all
    select 12, 'units', 'missing', count(*), 'units' from missing
    union all
    select 13, 'units', 'failed', count(*), 'units' from missing where cause is not null
    union all
    select 14, 'units', 'not done yet', count(*), 'units' from missing where cause is null
    union all
    select 20, 'failed', cause, count(*), 'units' from missing where cause is not null
    group by cause
    union all
    select 30, 'catalog', 'models', count(distinct model_id), 'models' from models_latest
    union all
    select 31, 'catalog', 'revisions', count(*), 'revisions' from models_latest
    union all
    select 32, 'catalog', 'units', count(*), 'units' from models
    union all
    select 33, 'layers', 'analysed', coalesce(sum(layers_analysed), 0), 'layers' from models
    union all
    select 34, 'layers', 'skipped', coalesce(sum(layers_skipped), 0), 'layers' from models
    union all
    select 35, 'layers', 'failed', coalesce(sum(layers_failed), 0), 'layers' from models
    union all
    select 40, 'cost', 'compute', round(coalesce(sum(seconds), 0)), 's' from models
    union all
    select 41, 'cost', 'fetched', coalesce(sum(bytes_read), 0), 'bytes' from models
    union all
    select 42, 'cost', 'analysed', coalesce(sum(bytes_analysed), 0), 'bytes' from models
    union all
    select 43, 'cost', 'requests', coalesce(sum(requests), 0), 'requests' from models
    union all
    select 50, 'sweeps', 'last of each name: ' || status, count(*), 'sweeps' from last_sweeps
    group by status
)
select topic, item, value::bigint as value, unit from facts order by place, item
"""


def status(con: duckdb.DuckDBPyConnection) -> pa.Table:
    """Columns topic, item, value (integer), unit; one fact a row.

    `listed` counts what the last sweep of every name planned; done and missing add up to it.
    """
    return ask(con, _STATUS)
