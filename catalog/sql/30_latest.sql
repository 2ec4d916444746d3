-- The newest analysis of every (model, revision), and the newest revision of every model.
-- The newest revision is the one with the greatest training step, else the last one modified,
-- else the last one analysed.
create or replace view internal.shown_units as
with marked as (
    select *, row_number() over (
        partition by model_id, revision order by committed_at desc, analysis_key desc) = 1
        as is_newest
    from internal.shown_models
),
placed as (
    select *,
        count(*) filter (where is_newest) over (partition by model_id) as num_revisions,
        is_newest and row_number() over (
            partition by model_id, is_newest
            order by step desc nulls last, last_modified desc nulls last, committed_at desc,
                revision
        ) = 1 as is_first
    from marked
)
select * exclude (is_first), bool_or(is_first) over (partition by model_id, revision) as is_final
from placed;

create or replace view internal.shown_latest as
select * exclude (is_newest) from internal.shown_units where is_newest;

create or replace view models_latest as
select * exclude (generation) from internal.shown_latest;

create or replace view layers_latest as
select * exclude (generation)
from internal.raw_layers semi join internal.shown_latest
    using (sweep_id, model_id, revision, analysis_key, generation)
where delta_base is null;

-- The same of W - W_base ([layers] deltas): what training changed, layer by layer. The table `layers` has
-- both kinds of rows; whatever is built on layers_latest is of the models' own weights alone.
create or replace view delta_layers as
select * exclude (generation)
from internal.raw_layers semi join internal.shown_latest
    using (sweep_id, model_id, revision, analysis_key, generation)
where delta_base is not null;

-- True of the revision that `wanted` names: an id is its newest one, `id@revision` (all 40 digits) that one.
create or replace macro internal.is_named(wanted, model_id, revision, is_final) as
(model_id = wanted and is_final) or concat(model_id, '@', revision) = wanted;
