-- What was listed, what is done, and what failed by which cause?
--
-- One row per sweep name and outcome, of what the last sweep of that name listed. example and message are
-- those of one model with that outcome.
--
-- $sweep (text, null): only the sweep of this name
with outcomes as (
    select
        l.sweep_name, l.model_id,
        case
            when m.model_id is null then 'done'
            when m.cause is null then 'not done yet'
            else 'failed: ' || m.cause
        end as outcome,
        case when m.cause is not null then m.reason end as message
    from listed as l
    left join missing as m using (sweep_name, model_id, revision, analysis_key)
)
select
    sweep_name, outcome, count(*) as num,
    count(*) / sum(count(*)) over (partition by sweep_name) as share,
    min(model_id) as example,
    arg_min(message, model_id) as message
from outcomes
where getvariable('sweep') is null or sweep_name = getvariable('sweep')::varchar
group by sweep_name, outcome
order by sweep_name, outcome <> 'done', num desc, outcome;
