-- What is not there, and why.

-- What the last sweep of every name listed: the units the catalog is meant to hold.
create or replace view listed as
with named as (
    select l.*, coalesce(s.name, l.sweep_id) as sweep_name
    from listing as l left join sweeps as s using (sweep_id)
)
select sweep_name, sweep_id, model_id, revision, analysis_key, source, step, listed_at,
    coalesce(options_key, analysis_key) as options_key
from named
qualify sweep_id = arg_max(sweep_id, (listed_at, sweep_id)) over (partition by sweep_name);

-- options_key is NULL in rows of version 0.1.0: there it is analysis_key.
create or replace view internal.finished as
select model_id, revision, coalesce(options_key, analysis_key) as options_key, committed_at
from models;

-- Failures with no success of the same unit at or after them; the last one of each unit. A unit that
-- the last sweep of that name no longer lists (the model was mended, or left the spec) is closed.
create or replace view failures_open as
select f.*
from failures as f
anti join internal.finished as m
    on m.model_id = f.model_id and m.revision = f.revision
    and m.options_key = coalesce(f.options_key, f.analysis_key) and m.committed_at >= f.failed_at
left join sweeps as s on s.sweep_id = f.sweep_id
where (f.model_id, f.revision, f.analysis_key)
        in (select (model_id, revision, analysis_key) from listed)
    or coalesce(s.name, f.sweep_id) not in (select sweep_name from listed)
qualify row_number() over (
    partition by f.model_id, f.revision, f.analysis_key
    order by f.failed_at desc, f.sweep_id desc) = 1;

-- Listed, but not done. reason: the open failure, or `not done yet`. Done is a unit that has the key it
-- was listed with, or was finished since: its decoders, and so its key, may be others than expected.
create or replace view missing as
select
    l.*,
    case when f.model_id is null then 'not done yet' else concat(f.cause, ': ', f.message) end
        as reason,
    f.cause, f.error_type, f.attempts, f.failed_at, f.log_uri
from listed as l
anti join models as m
    on m.model_id = l.model_id and m.revision = l.revision and m.analysis_key = l.analysis_key
anti join internal.finished as d
    on d.model_id = l.model_id and d.revision = l.revision and d.options_key = l.options_key
    and d.committed_at >= l.listed_at
left join failures_open as f
    on f.model_id = l.model_id and f.revision = l.revision and f.analysis_key = l.analysis_key
order by l.sweep_name, l.model_id, l.step, l.revision;
