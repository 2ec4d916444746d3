-- One row per model: its newest revision (see models_latest), ranked from 1. Ties go by model id.
-- Rounding keeps the order of sums over threads out of the ranking. A model without a single layer
-- behind its score is not ranked; num_layers_* says how many there are.

-- Most Correlation Traps a layer first: fewer is better.
create or replace view leaderboard_traps as
select
    row_number() over (
        order by round(mean_traps, 9) desc, max_trap_excess desc nulls last, model_id) as rank,
    model_id, family, step, num_params,
    mean_traps, total_traps, num_layers_tested, num_layers_trapped, max_trap_excess,
    min_trap_p_value, total_traps_tw, total_traps_mean, total_traps_entries, total_traps_ww, layers_failed, num_revisions, architecture, author,
    base_model, revision
from model_scores
where is_final and num_layers_tested > 0
order by rank;

-- Best agreement of the tail's start with the effective correlation space first; 0 is perfect.
create or replace view leaderboard_alignment as
select
    row_number() over (order by round(mean_abs_erg_log_ratio, 9), model_id) as rank,
    model_id, family, step, num_params,
    mean_abs_erg_log_ratio, num_layers_aligned,
    mean_abs_alpha_minus_2, num_layers_fitted,
    spearman_alpha_erg_delta, num_layers_ranked,
    share_alpha_and_delta_low, mean_erg_delta,
    layers_failed, num_revisions, architecture, author, base_model, revision
from model_scores
where is_final and num_layers_aligned > 0
order by rank;

-- Mean distance of alpha from 2, nearest first; 2 to 6 is the range of well-trained layers.
create or replace view leaderboard_alpha as
select
    row_number() over (order by round(mean_abs_alpha_minus_2, 9), model_id) as rank,
    model_id, family, step, num_params,
    mean_abs_alpha_minus_2, mean_alpha, weighted_alpha, median_alpha, std_alpha, share_alpha_2_6,
    num_layers_fitted, num_over_trained, num_under_trained, mean_alpha_hat, mean_ks_distance,
    layers_failed, num_revisions, architecture, author, base_model, revision
from model_scores
where is_final and num_layers_fitted > 0
order by rank;
