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

-- What a board ranks: every analysis of the newest revision of every model.
create or replace view internal.final_scores as
from internal.analysis_scores where is_final;

-- The same as it was before the last sweep: of the revisions that an earlier one listed. Sweeps of a
-- program that only computes numbers anew list nothing. Without an earlier sweep there is no row.
create or replace view internal.final_scores_before as
with sweeps_that_listed as (
    select sweep_id, max(listed_at) as last_at from listing group by sweep_id
),
listed_before as (
    select distinct model_id, revision from listing
    where sweep_id <> (
        select sweep_id from sweeps_that_listed order by last_at desc, sweep_id desc limit 1)
)
select * exclude (newest) replace (true as is_final)
from (
    select *, max(committed_at) over (partition by model_id, revision) as newest
    from internal.analysis_scores semi join listed_before using (model_id, revision)
)
qualify dense_rank() over (
    partition by model_id
    order by step desc nulls last, last_modified desc nulls last, newest desc, revision) = 1;

-- Every model of a board, ranked or not. source: the view of scores it ranks; name: traps,
-- traps_per_million, active_traps, alignment, alpha, alpha_hat, log_alpha_norm or composite;
-- least: layers that a score needs; wanted: the analysis to compare, as compared_as, or NULL.
-- standing is `ranked`, or why it is not: `otherwise` (another analysis), `no_layers`, `few_layers`.
create or replace macro internal.board_of(source, name, least, wanted) as table
with entries as materialized (
    select *,
        case name
            when 'traps' then num_layers_tested
            when 'traps_per_million' then num_layers_tested
            when 'active_traps' then num_layers_probed
            when 'alignment' then num_layers_aligned
            when 'composite' then least(
                num_layers_tested, num_layers_fitted, num_layers_aligned)
            else num_layers_fitted
        end as num_layers_behind
    from query_table(source)
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
standings as (
    select * exclude (is_alike, most_behind),
        case
            when num_layers_behind = 0 and (is_alike or board_asked is null) then 'no_layers'
            when not is_alike then 'otherwise'
            when num_layers_behind < least then 'few_layers'
            else 'ranked'
        end as standing
    from models
),
shares as (  -- 0 for the best of the ranked models, 1 for the worst
    select *,
        percent_rank() over (
            partition by standing = 'ranked' order by round(mean_traps, 9)) as traps_share,
        percent_rank() over (
            partition by standing = 'ranked' order by round(mean_abs_alpha_minus_2, 9))
            as alpha_share,
        percent_rank() over (
            partition by standing = 'ranked' order by round(mean_abs_erg_log_ratio, 9))
            as alignment_share
    from standings
),
scored as (
    select * replace (
        case when is_composite and standing = 'ranked' then traps_share end as traps_share,
        case when is_composite and standing = 'ranked' then alpha_share end as alpha_share,
        case when is_composite and standing = 'ranked' then alignment_share end as alignment_share),
        case name
            when 'traps' then mean_traps
            when 'traps_per_million' then traps_per_million
            when 'active_traps' then mean_active_traps
            when 'alignment' then mean_abs_erg_log_ratio
            when 'alpha' then mean_abs_alpha_minus_2
            when 'alpha_hat' then mean_alpha_hat
            when 'log_alpha_norm' then mean_log_alpha_norm
            else case when standing = 'ranked' then (traps_share + alpha_share + alignment_share) / 3 end
        end as score
    from (select *, name = 'composite' as is_composite from shares)
),
placed as (
    select *,
        row_number() over (
            partition by standing = 'ranked'
            order by case when name in ('traps', 'traps_per_million', 'active_traps') then -1 else 1 end
                    * round(score, 9) nulls last,
                case when name in ('traps', 'traps_per_million', 'active_traps')
                    then max_trap_excess end desc nulls last, model_id) as place
    from scored
)
select
    case when standing = 'ranked' then place end as rank,
    left(analysis_key, 8) as analysis,
    case when name = 'composite' then score end as composite,
    * exclude (place, is_composite)
from placed;

create or replace macro internal.board(name, least, wanted) as table
from internal.board_of('internal.final_scores', name, least, wanted);

-- Most Correlation Traps a layer first: fewer is better.
create or replace view leaderboard_traps as
select
    rank, model_id, family, step, num_params, num_params_active, num_params_embedding,
    mean_traps, mean_traps_stderr, total_traps, num_layers_tested, num_layers_trapped,
    num_layers_p01, max_trap_excess, min_trap_p_value, total_traps_tw, total_traps_mean,
    total_traps_entries, total_traps_ww, total_active_traps, traps_per_million,
    layers_failed, num_revisions, num_layers_dequantised, architecture, author, base_model,
    analysis, revision
from internal.board('traps', 5, null)
where standing = 'ranked'
order by rank;

-- Best agreement of the tail's start with the effective correlation space first; 0 is perfect.
create or replace view leaderboard_alignment as
select
    rank, model_id, family, step, num_params, num_params_active, num_params_embedding,
    mean_abs_erg_log_ratio, mean_abs_erg_log_ratio_stderr, num_layers_aligned,
    mean_abs_alpha_minus_2, num_layers_fitted,
    spearman_alpha_erg_delta, num_layers_ranked,
    share_alpha_and_delta_low, mean_erg_delta,
    layers_failed, num_revisions, num_layers_dequantised, architecture, author, base_model,
    analysis, revision
from internal.board('alignment', 5, null)
where standing = 'ranked'
order by rank;

-- Mean distance of alpha from 2, nearest first; 2 to 6 is the range of well-trained layers.
create or replace view leaderboard_alpha as
select
    rank, model_id, family, step, num_params, num_params_active, num_params_embedding,
    mean_abs_alpha_minus_2, mean_abs_alpha_minus_2_stderr,
    mean_alpha, weighted_alpha, median_alpha, std_alpha, share_alpha_2_6,
    num_layers_fitted, num_over_trained, num_under_trained, mean_alpha_hat, mean_ks_distance,
    layers_failed, num_revisions, num_layers_dequantised, architecture, author, base_model,
    analysis, revision
from internal.board('alpha', 5, null)
where standing = 'ranked'
order by rank;

-- Mean alpha_hat = alpha·log10 λ_max, smallest first. Meant for models of one family: its scale is
-- that of the weights.
create or replace view leaderboard_alpha_hat as
select
    rank, model_id, family, step, num_params, num_params_active, num_params_embedding,
    mean_alpha_hat, mean_alpha_hat_stderr, mean_alpha, mean_log_spectral_norm, num_layers_fitted,
    layers_failed, num_revisions, num_layers_dequantised, architecture, author, base_model,
    analysis, revision
from internal.board('alpha_hat', 5, null)
where standing = 'ranked'
order by rank;

-- Mean log_alpha_norm = log10 Σ λ^alpha, smallest first. Meant for models of one family, as alpha_hat.
create or replace view leaderboard_log_alpha_norm as
select
    rank, model_id, family, step, num_params, num_params_active, num_params_embedding,
    mean_log_alpha_norm, mean_log_alpha_norm_stderr, mean_alpha, mean_log_spectral_norm,
    num_layers_fitted,
    layers_failed, num_revisions, num_layers_dequantised, architecture, author, base_model,
    analysis, revision
from internal.board('log_alpha_norm', 5, null)
where standing = 'ranked'
order by rank;

-- Most Correlation Traps a million parameters of the layers that were tested first.
create or replace view leaderboard_traps_per_million as
select
    rank, model_id, family, step, num_params, num_params_active, num_params_embedding,
    traps_per_million, total_traps, num_params_tested, num_layers_tested, mean_traps, max_trap_excess,
    layers_failed, num_revisions, num_layers_dequantised, architecture, author, base_model,
    analysis, revision
from internal.board('traps_per_million', 5, null)
where standing = 'ranked'
order by rank;

-- Most active traps a layer first: those that change the outputs more than ordinary modes do. Of models
-- whose traps were probed, all of them (`zoo probe`), and of models without traps.
create or replace view leaderboard_active_traps as
select
    rank, model_id, family, step, num_params, num_params_active, num_params_embedding,
    mean_active_traps, mean_active_traps_stderr, total_active_traps, num_layers_probed,
    total_traps, mean_traps, num_layers_trapped, max_trap_excess,
    layers_failed, num_revisions, num_layers_dequantised, architecture, author, base_model,
    analysis, revision
from internal.board('active_traps', 5, null)
where standing = 'ranked'
order by rank;

-- The three boards in one: the mean of a model's percentile ranks by traps (fewest first), distance of
-- alpha from 2 and distance from the ERG condition, among the models with all three; 0 is best.
create or replace view leaderboard_composite as
select
    rank, model_id, family, step, num_params, num_params_active, num_params_embedding,
    composite, traps_share, alpha_share, alignment_share,
    mean_traps, mean_abs_alpha_minus_2, mean_abs_erg_log_ratio,
    num_layers_tested, num_layers_fitted, num_layers_aligned,
    layers_failed, num_revisions, num_layers_dequantised, architecture, author, base_model,
    analysis, revision
from internal.board('composite', 5, null)
where standing = 'ranked'
order by rank;
