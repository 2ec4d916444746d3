-- One model over its training steps.
--
-- Accuracies come from the model card: metrics with "acc" in their name, on data whose name (or
-- the metric's) says train, or test/valid/eval; percentages are divided by 100.
create or replace view internal.accuracies as
with tagged as (
    select
        model_id, revision,
        case when value > 1 then value / 100 else value end as accuracy,
        concat_ws(' ', dataset, metric) as name
    from internal.raw_evaluations semi join internal.shown_latest
        using (sweep_id, model_id, revision, analysis_key, generation)
    where metric ilike '%acc%' and value is not null
)
select
    model_id, revision,
    max(accuracy) filter (where name ilike '%train%') as train_accuracy,
    max(accuracy) filter (
        where name not ilike '%train%'
            and (name ilike '%test%' or name ilike '%valid%' or name ilike '%eval%')
    ) as test_accuracy
from tagged
group by model_id, revision;

-- Phases need train and test accuracy. The peak is the first step of the best test accuracy, the
-- base the test accuracy at the first step with train accuracy 0.99 or more (else at the first).
-- Before the peak: pre_grokking up to half-way between base and peak, grokking from there on.
-- After it: anti_grokking once more than 0.05 below the peak. NULL where the rise is under 0.1.
create or replace view trajectories as
with steps as materialized (
    select s.* exclude (is_final, num_revisions), a.train_accuracy, a.test_accuracy
    from model_scores as s left join internal.accuracies as a using (model_id, revision)
    where s.step is not null
    qualify row_number() over (
        partition by model_id, step order by committed_at desc, revision) = 1
),
peaks as (
    select
        model_id,
        max(test_accuracy) as peak,
        arg_max(step, (test_accuracy, -step)) as peak_step,
        coalesce(
            arg_min(test_accuracy, step) filter (where train_accuracy >= 0.99),
            arg_min(test_accuracy, step)) as base
    from steps
    where train_accuracy is not null and test_accuracy is not null
    group by model_id
)
select
    model_id, step, revision,
    mean_traps, total_traps, num_layers_tested, num_layers_trapped, max_trap_excess,
    total_traps_tw, total_traps_ww, total_active_traps,
    mean_alpha, mean_abs_alpha_minus_2, share_alpha_2_6, num_layers_fitted,
    mean_abs_erg_log_ratio, mean_erg_delta, num_layers_aligned,
    sqrt(frobenius_norm_sq) as l2_norm, mean_log_spectral_norm, mean_stable_rank,
    activation_sparsity, circuit_complexity,
    train_accuracy, test_accuracy,
    case
        when train_accuracy is null or test_accuracy is null or peak - base < 0.1 then null
        when step > peak_step and test_accuracy < peak - 0.05 then 'anti_grokking'
        when step < peak_step and test_accuracy < (base + peak) / 2 then 'pre_grokking'
        else 'grokking'
    end as phase
from steps left join peaks using (model_id)
order by model_id, step;

-- Traps over the steps of every layer (tensor is not NULL) and of every model (tensor is NULL), each step
-- by the revision that trajectories shows.
create or replace view internal.trap_series as
select model_id, tensor, part, expert, layer_index, step,
    num_traps as traps, trap_excess_max as excess, alpha,
    (num_traps > 0)::bigint as layers_trapped
from (
    select l.*, c.committed_at
    from layers as l join current as c using (sweep_id, model_id, revision, analysis_key))
where step is not null and num_traps is not null and tied_to is null and delta_base is null
qualify row_number() over (
    partition by model_id, tensor, part, expert, step
    order by committed_at desc, revision, layer_index) = 1
union all
select model_id, null, null, null, null, step, total_traps, max_trap_excess, mean_alpha,
    num_layers_trapped
from trajectories
where total_traps is not null;

-- The onset is the first step with a trap after which at most one step is without, the last step
-- being with one; NULL when there is none. Growth is the value at the last step minus that at the
-- onset; the slope is per tenfold of steps, from the onset on. alpha's departure is alpha - 2.
create or replace view internal.onset_series as
with ahead as (
    select *,
        count(*) filter (where not traps > 0) over (
            partition by model_id, tensor, part, expert order by step
            rows between 1 following and unbounded following) as num_without,
        last_value(traps) over (
            partition by model_id, tensor, part, expert order by step
            rows between unbounded preceding and unbounded following) as last_traps
    from internal.trap_series
),
marked as (
    select *,
        min(step) filter (where traps > 0 and last_traps > 0 and num_without <= 1) over (
            partition by model_id, tensor, part, expert) as onset
    from ahead
)
select
    model_id, tensor, part, expert, min(layer_index) as layer_index,
    count(*) as num_steps, min(step) as first_step, max(step) as last_step,
    min(onset) as onset_step,
    max(traps) filter (where step = onset) as onset_traps,
    max(layers_trapped) filter (where step = onset) as onset_layers_trapped,
    arg_max(traps, step) as last_traps,
    max(traps) as max_traps,
    arg_max(traps, step) - max(traps) filter (where step = onset) as traps_growth,
    regr_slope(traps, log10(step)) filter (where step >= onset and step > 0) as traps_slope,
    max(excess) filter (where step = onset) as onset_excess,
    arg_max(excess, step) as last_excess,
    arg_max(excess, step) - max(excess) filter (where step = onset) as excess_growth,
    max(alpha) filter (where step = onset) - 2 as onset_alpha_departure,
    arg_max(alpha, step) - 2 as last_alpha_departure,
    arg_min(step, abs(alpha - 2)) as nearest_alpha_2_step,
    min(step) filter (where alpha < 2) as first_alpha_below_2_step
from marked
group by model_id, tensor, part, expert;

-- One row per trajectory. A deep model has false alarms (1 in 100 matrices): look at its layers.
create or replace view onset as
select * exclude (tensor, part, expert, layer_index)
from internal.onset_series
where tensor is null
order by model_id;

-- One row per layer of a trajectory.
create or replace view onset_layers as
select * exclude (onset_layers_trapped)
from internal.onset_series
where tensor is not null
order by model_id, layer_index, tensor, part, expert;
