-- One row per (model, revision): every mean with the number of layers behind it.
--
-- Scored is every measured layer, embeddings too. Left out of every mean, and counted in
-- num_layers_unscored: tied layers (they are counted at the tensor they are tied to), and a fused
-- matrix whose parts are there too. Rows of W - W_base are no layers of the model, and are not counted.
--
-- The CTEs are materialised so that every file is opened once.
create or replace view model_scores as
with latest as materialized (from internal.shown_latest),
measured as materialized (
    select
        model_id, revision, tensor, part, expert,
        num_traps, num_traps_tw, num_traps_mean, num_traps_entries, num_traps_ww, trap_excess_max,
        trap_p_value, alpha, alpha_stderr, alpha_low, alpha_high, alpha_hat, ks_distance, erg_log_ratio, erg_delta,
        log_norm, log_spectral_norm, stable_rank, frobenius_norm_sq
    from internal.raw_layers semi join latest
        using (sweep_id, model_id, revision, analysis_key, generation)
    where status = 'ok'
        and tied_to is null
        and delta_base is null
),
parts as (
    select distinct model_id, revision, tensor, coalesce(expert, -1) as expert
    from measured where part is not null
),
scored as materialized (
    select m.*, 1 / (alpha_stderr ** 2 + coalesce((alpha_high - alpha_low) / 2, 0) ** 2) as precision
    from measured as m anti join parts as p
        on m.part is null and m.model_id = p.model_id and m.revision = p.revision
        and m.tensor = p.tensor and coalesce(m.expert, -1) = p.expert
),
scores as (
    select
        model_id, revision,
        count(*) as num_layers_scored,
        -- traps
        count(num_traps) as num_layers_tested,
        sum(num_traps) as total_traps,
        avg(num_traps) as mean_traps,
        count(*) filter (where num_traps > 0) as num_layers_trapped,
        max(trap_excess_max) as max_trap_excess,
        min(trap_p_value) as min_trap_p_value,
        sum(num_traps_tw) as total_traps_tw,
        sum(num_traps_mean) as total_traps_mean,
        sum(num_traps_entries) as total_traps_entries,
        sum(num_traps_ww)::bigint as total_traps_ww,
        -- power-law tails
        count(alpha) as num_layers_fitted,
        avg(alpha) as mean_alpha,
        -- each layer by its precision: standard error, and half the range of starts nearly as good
        sum(alpha * precision) / nullif(sum(precision), 0) as weighted_alpha,
        median(alpha) as median_alpha,
        stddev_pop(alpha) as std_alpha,
        avg(abs(alpha - 2)) as mean_abs_alpha_minus_2,
        count(*) filter (where alpha between 2 and 6) / nullif(count(alpha), 0) as share_alpha_2_6,
        count(*) filter (where alpha < 2) as num_over_trained,
        count(*) filter (where alpha > 6) as num_under_trained,
        avg(alpha_hat) as mean_alpha_hat,
        avg(ks_distance) as mean_ks_distance,
        -- alignment of the tail with the effective correlation space
        count(*) filter (where erg_log_ratio is not null and alpha is not null)
            as num_layers_aligned,
        avg(abs(erg_log_ratio)) filter (where alpha is not null) as mean_abs_erg_log_ratio,
        avg(erg_delta) filter (where alpha is not null) as mean_erg_delta,
        count(*) filter (where alpha < 2 and erg_delta < 0)
            / nullif(count(*) filter (where alpha is not null and erg_delta is not null), 0)
            as share_alpha_and_delta_low,
        -- scale
        avg(log_norm) as mean_log_norm,
        avg(log_spectral_norm) as mean_log_spectral_norm,
        avg(stable_rank) as mean_stable_rank,
        sum(frobenius_norm_sq) as frobenius_norm_sq
    from scored
    group by model_id, revision
),
ranks as (  -- of Spearman's correlation; equal values get their mean rank
    select
        model_id, revision,
        rank() over by_alpha + (count(*) over (partition by model_id, revision, alpha) - 1) / 2
            as alpha_rank,
        rank() over by_delta + (count(*) over (partition by model_id, revision, erg_delta) - 1) / 2
            as delta_rank
    from scored
    where alpha is not null and erg_delta is not null
    window
        by_alpha as (partition by model_id, revision order by alpha),
        by_delta as (partition by model_id, revision order by erg_delta)
),
ranked as (
    select model_id, revision, count(*) as num_layers_ranked,
        corr(alpha_rank, delta_rank) as spearman_alpha_erg_delta
    from ranks
    group by model_id, revision
)
select
    m.model_id, m.revision, m.analysis_key, m.sweep_id,
    m.name, m.author, m.family, m.architecture, m.base_model, m.step, m.num_params, m.downloads,
    m.num_revisions, m.is_final, m.committed_at,
    m.layers_analysed, m.layers_skipped, m.layers_failed,
    m.layers_analysed - coalesce(s.num_layers_scored, 0) as num_layers_unscored,
    coalesce(s.num_layers_scored, 0) as num_layers_scored,
    coalesce(s.num_layers_tested, 0) as num_layers_tested,
    s.total_traps, s.mean_traps, s.num_layers_trapped, s.max_trap_excess, s.min_trap_p_value,
    s.total_traps_tw, s.total_traps_mean, s.total_traps_entries, s.total_traps_ww,
    coalesce(s.num_layers_fitted, 0) as num_layers_fitted,
    s.mean_alpha, s.weighted_alpha, s.median_alpha, s.std_alpha, s.mean_abs_alpha_minus_2, s.share_alpha_2_6,
    s.num_over_trained, s.num_under_trained, s.mean_alpha_hat, s.mean_ks_distance,
    coalesce(s.num_layers_aligned, 0) as num_layers_aligned,
    s.mean_abs_erg_log_ratio, s.mean_erg_delta, s.share_alpha_and_delta_low,
    coalesce(r.num_layers_ranked, 0) as num_layers_ranked,
    case when isfinite(r.spearman_alpha_erg_delta) then r.spearman_alpha_erg_delta end
        as spearman_alpha_erg_delta,
    s.mean_log_norm, s.mean_log_spectral_norm, s.mean_stable_rank, s.frobenius_norm_sq
from latest as m
left join scores as s using (model_id, revision)
left join ranked as r using (model_id, revision);
