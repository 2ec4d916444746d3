"""How far the catalog is: listed, done, failed by cause, missing, cost. From the tables alone."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from catalog.files.duck import put
from catalog.files.folder import Folder
from catalog.files.layout import HOT
from catalog.read.lacking import Lack
from catalog.read.query import Answer, ask_rows
from catalog.schema import TABLES
from catalog.schema.keys import UNIT

VIEWS = ("listed", "missing", "models", "models_latest", "sweeps")
"""What the answer is read from."""

MANY_FILES = 2000
"""As many files that are not merged make every question a second slower, or more: time to compact."""

_STATUS = """
with planned as materialized (from listed),  -- so that each view is bound and read once
finished as materialized (from models),
lost_rows as materialized (from planned semi join lacking_units using (model_id, revision, analysis_key)),
taken as materialized (from finished where measured_at <> concat(model_id, '@', revision)),
measured as materialized (from finished where measured_at is null),  -- each is paid for once
latest as materialized (from models_latest),
lacking as materialized (from missing),
last_sweeps as materialized (
    select status from sweeps where sweep_id in (select sweep_id from planned)
),
facts as (
    select 10 as place, 'units' as topic, 'listed' as item, count(*) as value, 'units' as unit
    from planned
    union all
    select 11, 'units', 'done', count(*) - (select count(*) from lost_rows), 'units'
    from planned semi join finished using (model_id, revision, analysis_key)
    union all
    select 13, 'units', 'missing', count(*) + (select count(*) from lost_rows), 'units' from lacking
    union all
    select 12, 'units', 'taken over from equal weights', count(*), 'units'
    from planned semi join taken using (model_id, revision, analysis_key)
    union all
    select 14, 'units', 'failed', count(*), 'units' from lacking where cause is not null
    union all
    select 15, 'units', 'not done yet', count(*), 'units' from lacking where cause is null
    union all
    select 15, 'units', 'done once, rows lost since', count(*), 'units' from lost_rows
    union all
    select 20, 'failed', cause, count(*), 'units' from lacking where cause is not null
    group by cause
    union all
    select 30, 'catalog', 'models', count(distinct model_id), 'models' from latest
    union all
    select 31, 'catalog', 'revisions', count(*), 'revisions' from latest
    union all
    select 32, 'catalog', 'units', count(*), 'units' from finished
    union all
    select 33, 'layers', 'analysed', coalesce(sum(layers_analysed), 0), 'layers' from finished
    union all
    select 34, 'layers', 'skipped', coalesce(sum(layers_skipped), 0), 'layers' from finished
    union all
    select 35, 'layers', 'failed', coalesce(sum(layers_failed), 0), 'layers' from finished
    union all
    select 40, 'cost', 'compute', round(coalesce(sum(seconds), 0)), 's' from measured
    union all
    select 41, 'cost', 'fetched', coalesce(sum(bytes_read), 0), 'bytes' from measured
    union all
    select 42, 'cost', 'analysed', coalesce(sum(bytes_analysed), 0), 'bytes' from measured
    union all
    select 43, 'cost', 'requests', coalesce(sum(requests), 0), 'requests' from measured
    union all
    select 50, 'sweeps', 'last of each name: ' || status, count(*), 'sweeps' from last_sweeps
    group by status
)
select topic, item, value::bigint as value, unit from facts order by place, item
"""
"""The facts in the order in which they are shown, each with its place in it. Rows whose weights were read
for another row (`measured_at`) cost nothing."""


def num_unmerged(root: str) -> int:
    """Files of all tables that `zoo compact` has not merged; one listing a table, no file is opened."""
    folder = Folder.parse(root)
    return sum(len(folder.names(table, HOT)) for table in TABLES)


def status(con: duckdb.DuckDBPyConnection, lacks: Iterable[Lack] = ()) -> Answer:
    """Columns topic, item, value (integer), unit; one fact a row.

    `listed` counts what the last sweep of every name planned; done and missing add up to it. `lacks`:
    what finished units have lost, which makes them missing.
    """
    keys = sorted({lack.key for lack in lacks})
    put(con, "lacking_units", {name: [getattr(key, name) for key in keys] for name in UNIT})
    return ask_rows(con, _STATUS)
