-- When do traps begin along training, family by family?
--
-- One row a family, over its trajectories (models with two steps or more). The onset is the first step with
-- a trap that lasts (see the view onset); share_of_run is the onset as a share of the last step.
--
-- $family (text, null): only this family
with runs as (
    select o.*, m.family
    from onset as o join models_latest as m on m.model_id = o.model_id and m.is_final
    where o.num_steps >= 2
)
select
    family, count(*) as num_trajectories, count(onset_step) as num_with_onset,
    min(onset_step) as first_onset_step, median(onset_step) as median_onset_step,
    median(onset_step / nullif(last_step, 0)) as median_share_of_run,
    median(traps_growth) as median_traps_growth,
    median(last_traps) as median_last_traps,
    arg_min(model_id, onset_step) as earliest_model
from runs
where getvariable('family') is null or family = getvariable('family')::varchar
group by family
order by num_with_onset desc, family;
