-- One row per model: its newest revision (see models_latest), ranked from 1. Ties go by model id.
-- Rounding keeps the order of sums over threads out of the ranking.
--
-- A board compares one analysis: of those with at least nine tenths of as many layers behind the
-- score as the one with most, all models together, the most complete in all else (again to nine
-- tenths), and of these the newest; its key is in the column analysis. A
-- model that was not asked for the same (options, choice of layers, versions of the numbers), or has
-- fewer than five layers behind its score, is not ranked: `zoo rank` lists it below the board with
-- the reason, and has options for another analysis and another least number. The columns _stderr are
-- standard errors of the mean over layers, as a bootstrap over the layers has them.

-- Every model of a board, ranked or not. name: traps, alignment, alpha, alpha_hat or log_alpha_norm;
-- least: layers that a score needs; wanted: the analysis to compare, as compared_as, or NULL.
-- standing is `ranked`, or why it is not: `otherwise` (another analysis), `no_layers`, `few_layers`.
create or replace macro internal.board(name, least, wanted) as table
with entries as materialized (
    select *,
        case name
            when 'traps' then num_layers_tested
            when 'alignment' then num_layers_aligned
            else num_layers_fitted
        end as num_layers_behind,
        case name
            when 'traps' then mean_traps
            when 'alignment' then mean_abs_erg_log_ratio
            when 'alpha' then mean_abs_alpha_minus_2
            when 'alpha_hat' then mean_alpha_hat
            else mean_log_alpha_norm
        end as score
    from internal.analysis_scores
    where is_final
),
totals as (
    select compared_as, sum(num_layers_behind) as num_layers,
        sum(num_layers_tested + num_layers_fitted + num_layers_aligned) as num_measured,
        max(committed_at) as newest
    from entries
    where num_layers_behind > 0
    group by compared_as
),
widest as (
    from totals
    where case when wanted is null
        then num_layers >= 0.9 * (select max(num_layers) from totals)
        else compared_as = wanted end
),
chosen as (
    select compared_as as board_asked
    from widest
    where num_measured >= 0.9 * (select max(num_measured) from widest)
    order by newest desc, compared_as
    limit 1
),
alternatives as (
    select *,
        compared_as = board_asked as is_alike,
        max(num_layers_behind) over (partition by model_id) as most_behind
    from entries left join chosen on true
),
models as (  -- one unit a model: of the board's analysis, else its most complete one
    from alternatives
    qualify row_number() over (
        partition by model_id
        order by is_alike and num_layers_behind > 0 desc,
            num_layers_behind >= 0.9 * most_behind desc, committed_at desc, analysis_key desc) = 1
),
placed as (
    select * exclude (is_alike, most_behind),
        case
            when num_layers_behind = 0 and (is_alike or board_asked is null) then 'no_layers'
            when not is_alike then 'otherwise'
            when num_layers_behind < least then 'few_layers'
            else 'ranked'
        end as standing,
        row_number() over (
            partition by standing = 'ranked'
            order by case name when 'traps' then -1 else 1 end * round(score, 9) nulls last,
                case name when 'traps' then max_trap_excess end desc nulls last, model_id) as place
    from models
)
select
    case when standing = 'ranked' then place end as rank,
    left(analysis_key, 8) as analysis,
    * exclude (place)
from placed;

-- Most Correlation Traps a layer first: fewer is better.
create or replace view leaderboard_traps as
select
    rank, model_id, family, step, num_params,
    mean_traps, mean_traps_stderr, total_traps, num_layers_tested, num_layers_trapped,
    num_layers_p01, max_trap_excess, min_trap_p_value, total_traps_tw, total_traps_mean,
    total_traps_entries, total_traps_ww, total_active_traps,
    layers_failed, num_revisions, architecture, author, base_model, analysis, revision
from internal.board('traps', 5, null)
where standing = 'ranked'
order by rank;

-- Best agreement of the tail's start with the effective correlation space first; 0 is perfect.
create or replace view leaderboard_alignment as
select
    rank, model_id, family, step, num_params,
    mean_abs_erg_log_ratio, mean_abs_erg_log_ratio_stderr, num_layers_aligned,
    mean_abs_alpha_minus_2, num_layers_fitted,
    spearman_alpha_erg_delta, num_layers_ranked,
    share_alpha_and_delta_low, mean_erg_delta,
    layers_failed, num_revisions, architecture, author, base_model, analysis, revision
from internal.board('alignment', 5, null)
where standing = 'ranked'
order by rank;

-- Mean distance of alpha from 2, nearest first; 2 to 6 is the range of well-trained layers.
create or replace view leaderboard_alpha as
select
    rank, model_id, family, step, num_params,
    mean_abs_alpha_minus_2, mean_abs_alpha_minus_2_stderr,
    mean_alpha, weighted_alpha, median_alpha, std_alpha, share_alpha_2_6,
    num_layers_fitted, num_over_trained, num_under_trained, mean_alpha_hat, mean_ks_distance,
    layers_failed, num_revisions, architecture, author, base_model, analysis, revision
from internal.board('alpha', 5, null)
where standing = 'ranked'
order by rank;

-- Mean alpha_hat = alpha·log10 λ_max, smallest first. Meant for models of one family: its scale is
-- that of the weights.
create or replace view leaderboard_alpha_hat as
select
    rank, model_id, family, step, num_params,
    mean_alpha_hat, mean_alpha_hat_stderr, mean_alpha, mean_log_spectral_norm, num_layers_fitted,
    layers_failed, num_revisions, architecture, author, base_model, analysis, revision
from internal.board('alpha_hat', 5, null)
where standing = 'ranked'
order by rank;

-- Mean log_alpha_norm = log10 Σ λ^alpha, smallest first. Meant for models of one family, as alpha_hat.
create or replace view leaderboard_log_alpha_norm as
select
    rank, model_id, family, step, num_params,
    mean_log_alpha_norm, mean_log_alpha_norm_stderr, mean_alpha, mean_log_spectral_norm,
    num_layers_fitted,
    layers_failed, num_revisions, architecture, author, base_model, analysis, revision
from internal.board('log_alpha_norm', 5, null)
where standing = 'ranked'
order by rank;
