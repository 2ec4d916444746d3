-- How does alpha depend on what a layer does and how deep it stands?
--
-- One row per role and band of depth, over the newest revisions. depth is block/(last block), cut into
-- equal bands, from 1 at the input; NULL outside blocks.
--
-- $family (text, null): only this family
-- $model (model, null): only this model
-- $bands (integer, 4): bands of depth; 1 takes all depths together
-- $min_layers (integer, 1): layers that a row needs
with placed as (
    select m.model_id, m.revision, m.is_final, m.family, l.role, l.alpha, l.num_traps, l.erg_log_ratio,
        l.block / nullif(max(l.block) over (partition by m.model_id), 0) as depth, l.block
    from layers_latest as l join models_latest as m using (sweep_id, model_id, revision, analysis_key)
    where l.status = 'ok' and l.tied_to is null
        and case when getvariable('model') is null then m.is_final
            else internal.is_named(
                getvariable('model')::varchar, m.model_id, m.revision, m.is_final) end
        and (getvariable('family') is null or m.family = getvariable('family')::varchar)
),
banded as (
    select *,
        case when block is not null then least(
            floor(coalesce(depth, 0) * coalesce(getvariable('bands'), 4))::bigint + 1,
            coalesce(getvariable('bands'), 4)) end as band
    from placed
)
select
    role, band as depth_band, count(*) as num_layers, count(distinct model_id) as num_models,
    count(alpha) as num_fitted,
    quantile_cont(alpha, 0.25) as alpha_q25, median(alpha) as median_alpha,
    quantile_cont(alpha, 0.75) as alpha_q75,
    count(*) filter (where alpha between 2 and 6) / nullif(count(alpha), 0) as share_alpha_2_6,
    avg(num_traps) as mean_traps,
    median(abs(erg_log_ratio)) as median_abs_erg_log_ratio
from banded
group by role, band
having count(*) >= coalesce(getvariable('min_layers'), 1)
order by role nulls last, band nulls first;
