-- What moved between two sweeps?
--
-- A sweep's state of a model is its newest revision among those that the sweep listed. moved: its scores
-- differ; same: they do not; new and gone: one of the sweeps alone listed it; not_measured: listed by both,
-- not finished for one.
--
-- $before (text, null): a sweep id; null is the sweep of the same name before $after
-- $after (text, null): a sweep id; null is the last one that listed anything
-- $top (integer, 50): rows
with runs as (
    select l.sweep_id, coalesce(any_value(s.name), l.sweep_id) as name, max(l.listed_at) as last_at
    from listing as l left join sweeps as s using (sweep_id)
    group by l.sweep_id
),
later as (
    from runs
    where getvariable('after') is null or sweep_id = getvariable('after')::varchar
    order by last_at desc, sweep_id desc
    limit 1
),
earlier as (
    select r.*
    from runs as r join later as l
        on case when getvariable('before') is null
            then r.name = l.name and (r.last_at, r.sweep_id) < (l.last_at, l.sweep_id)
            else r.sweep_id = getvariable('before')::varchar end
    order by r.last_at desc, r.sweep_id desc
    limit 1
),
states as (
    select l.sweep_id, l.model_id, s.revision, s.step, l.listed_at,
        s.mean_traps, s.mean_abs_alpha_minus_2, s.mean_abs_erg_log_ratio, s.committed_at
    from listing as l
    left join model_scores as s using (model_id, revision)
    where l.sweep_id in (select sweep_id from later union all select sweep_id from earlier)
    qualify row_number() over (
        partition by l.sweep_id, l.model_id
        order by s.revision is not null desc, s.step desc nulls last, s.committed_at desc, l.revision
    ) = 1
),
paired as (
    select
        coalesce(a.model_id, b.model_id) as model_id,
        case
            when b.model_id is null then 'new'
            when a.model_id is null then 'gone'
            when a.revision is null or b.revision is null then 'not_measured'
            when a.revision = b.revision then 'same'
            else 'moved'
        end as what,
        b.revision as before_revision, a.revision as after_revision,
        b.step as before_step, a.step as after_step,
        b.mean_traps as before_mean_traps, a.mean_traps as after_mean_traps,
        a.mean_traps - b.mean_traps as mean_traps_delta,
        b.mean_abs_alpha_minus_2 as before_alpha_distance,
        a.mean_abs_alpha_minus_2 as after_alpha_distance,
        a.mean_abs_alpha_minus_2 - b.mean_abs_alpha_minus_2 as alpha_distance_delta,
        b.mean_abs_erg_log_ratio as before_alignment,
        a.mean_abs_erg_log_ratio as after_alignment,
        a.mean_abs_erg_log_ratio - b.mean_abs_erg_log_ratio as alignment_delta
    from (from states where sweep_id in (select sweep_id from later)) as a
    full join (from states where sweep_id in (select sweep_id from earlier)) as b
        on a.model_id = b.model_id
    where exists (from earlier)
)
select * replace (
    case when what = 'moved' and mean_traps_delta is not distinct from 0
            and alpha_distance_delta is not distinct from 0
            and alignment_delta is not distinct from 0 then 'same' else what end as what)
from paired
order by what = 'same', abs(mean_traps_delta) desc nulls last,
    abs(alpha_distance_delta) desc nulls last, model_id
limit coalesce(getvariable('top'), 50);
