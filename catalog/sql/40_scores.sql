-- One row per (model, revision): every mean with the number of layers behind it.
--
-- Scored is every measured layer, embeddings too. Left out of every mean, and counted in
-- num_layers_unscored: tied layers (they are counted at the tensor they are tied to), and a fused
-- matrix whose parts are there too. Rows of W - W_base are no layers of the model, and are not counted.

-- The scored layers of the units in the view `source`.
--
-- The CTEs are materialised so that every file is opened once.
create or replace macro internal.scored_layers_of(source) as table
with measured as materialized (
    select
        model_id, revision, analysis_key, tensor, part, expert,
        num_traps, num_traps_tw, num_traps_mean, num_traps_entries, num_traps_ww, trap_excess_max,
        num_active_traps, trap_p_value, alpha, alpha_stderr, alpha_low, alpha_high, alpha_hat, log_alpha_norm,
        ks_distance, erg_log_ratio, erg_delta,
        log_norm, log_spectral_norm, stable_rank, frobenius_norm_sq, num_params, is_dequantised
    from internal.raw_layers semi join (from query_table(source))
        using (sweep_id, model_id, revision, analysis_key, generation)
    where status = 'ok'
        and tied_to is null
        and delta_base is null
),
parts as (
    select distinct model_id, revision, analysis_key, tensor, coalesce(expert, -1) as expert
    from measured where part is not null
)
select
    m.*, abs(alpha - 2) as alpha_distance,
    case when alpha is not null then abs(erg_log_ratio) end as erg_distance,
    -- a layer without traps has no active one; NULL where its traps were not probed
    case when num_traps = 0 then 0 else num_active_traps end as active_traps
from measured as m anti join parts as p
    on m.part is null and m.model_id = p.model_id and m.revision = p.revision
    and m.analysis_key = p.analysis_key
    and m.tensor = p.tensor and coalesce(m.expert, -1) = p.expert;

-- One row per unit of the view `source` with a scored layer: what follows from its layers alone.
create or replace macro internal.unit_scores_of(source) as table
with scored as materialized (
    select *, 1 / (alpha_stderr ** 2 + coalesce((alpha_high - alpha_low) / 2, 0) ** 2) as precision
    from internal.scored_layers_of(source)
),
scores as (
    select
        model_id, revision, analysis_key,
        count(*) as num_layers_scored,
        -- traps
        count(num_traps) as num_layers_tested,
        sum(num_traps) as total_traps,
        avg(num_traps) as mean_traps,
        stddev_pop(num_traps) / sqrt(count(num_traps)) as mean_traps_stderr,
        count(*) filter (where num_traps > 0) as num_layers_trapped,
        count(*) filter (where trap_p_value <= 0.01) as num_layers_p01,
        count(trap_p_value) as num_layers_with_p,
        max(trap_excess_max) as max_trap_excess,
        min(trap_p_value) as min_trap_p_value,
        sum(num_traps_tw) as total_traps_tw,
        sum(num_traps_mean) as total_traps_mean,
        sum(num_traps_entries) as total_traps_entries,
        sum(num_traps_ww)::bigint as total_traps_ww,
        sum(num_active_traps) as total_active_traps,
        (sum(num_params) filter (where num_traps is not null))::bigint as num_params_tested,
        1e6 * sum(num_traps) / nullif(sum(num_params) filter (where num_traps is not null), 0)
            as traps_per_million,
        -- of a model with a trapped layer that was not probed nothing is said
        case when count(num_traps) = count(active_traps) then count(active_traps) else 0 end
            as num_layers_probed,
        case when count(num_traps) = count(active_traps) then avg(active_traps) end
            as mean_active_traps,
        case when count(num_traps) = count(active_traps)
            then stddev_pop(active_traps) / sqrt(count(active_traps)) end as mean_active_traps_stderr,
        count(*) filter (where is_dequantised) as num_layers_dequantised,
        -- power-law tails
        count(alpha) as num_layers_fitted,
        avg(alpha) as mean_alpha,
        -- each layer by its precision: standard error, and half the range of starts nearly as good
        sum(alpha * precision) / nullif(sum(precision), 0) as weighted_alpha,
        median(alpha) as median_alpha,
        stddev_pop(alpha) as std_alpha,
        avg(alpha_distance) as mean_abs_alpha_minus_2,
        stddev_pop(alpha_distance) / sqrt(count(alpha)) as mean_abs_alpha_minus_2_stderr,
        count(*) filter (where alpha between 2 and 6) / nullif(count(alpha), 0) as share_alpha_2_6,
        count(*) filter (where alpha < 2) as num_over_trained,
        count(*) filter (where alpha > 6) as num_under_trained,
        avg(alpha_hat) as mean_alpha_hat,
        stddev_pop(alpha_hat) / sqrt(count(alpha_hat)) as mean_alpha_hat_stderr,
        avg(log_alpha_norm) as mean_log_alpha_norm,
        stddev_pop(log_alpha_norm) / sqrt(count(log_alpha_norm)) as mean_log_alpha_norm_stderr,
        avg(ks_distance) as mean_ks_distance,
        -- alignment of the tail with the effective correlation space
        count(erg_distance) as num_layers_aligned,
        avg(erg_distance) as mean_abs_erg_log_ratio,
        stddev_pop(erg_distance) / sqrt(count(erg_distance)) as mean_abs_erg_log_ratio_stderr,
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
    group by model_id, revision, analysis_key
),
ranks as (  -- of Spearman's correlation; equal values get their mean rank
    select
        model_id, revision, analysis_key,
        rank() over by_alpha
            + (count(*) over (partition by model_id, revision, analysis_key, alpha) - 1) / 2
            as alpha_rank,
        rank() over by_delta
            + (count(*) over (partition by model_id, revision, analysis_key, erg_delta) - 1) / 2
            as delta_rank
    from scored
    where alpha is not null and erg_delta is not null
    window
        by_alpha as (partition by model_id, revision, analysis_key order by alpha),
        by_delta as (partition by model_id, revision, analysis_key order by erg_delta)
),
ranked as (
    select model_id, revision, analysis_key, count(*) as num_layers_ranked,
        corr(alpha_rank, delta_rank) as spearman_alpha_erg_delta
    from ranks
    group by model_id, revision, analysis_key
)
select s.*, k.num_layers_ranked,
    case when isfinite(k.spearman_alpha_erg_delta) then k.spearman_alpha_erg_delta end
        as spearman_alpha_erg_delta
from scores as s left join ranked as k using (model_id, revision, analysis_key);

-- Computed from the layers here. After `zoo compact`, zoo reads most of them from a file that holds what
-- the macro gave (catalog/read/rollup.py).
create or replace view internal.unit_scores as
from internal.unit_scores_of('internal.shown_models');

-- One row per unit: also of analyses that a newer or more complete one has taken the place of.
-- compared_as is equal for models whose numbers were asked for alike.
create or replace view internal.analysis_scores as
select
    m.model_id, m.revision, m.analysis_key, m.sweep_id,
    m.name, m.author, m.family, m.architecture, m.base_model, m.step, m.num_params, m.downloads,
    m.num_params_active, m.num_params_embedding, m.source, m.last_modified,
    m.num_revisions, m.is_final, m.committed_at,
    m.layers_analysed, m.layers_skipped, m.layers_failed,
    m.layers_analysed - coalesce(s.num_layers_scored, 0) as num_layers_unscored,
    coalesce(s.num_layers_scored, 0) as num_layers_scored,
    coalesce(s.num_layers_tested, 0) as num_layers_tested,
    s.total_traps, s.mean_traps, s.mean_traps_stderr, s.num_layers_trapped,
    s.num_layers_p01, s.num_layers_with_p, s.max_trap_excess, s.min_trap_p_value,
    s.total_traps_tw, s.total_traps_mean, s.total_traps_entries, s.total_traps_ww,
    s.total_active_traps, s.num_params_tested, s.traps_per_million,
    coalesce(s.num_layers_probed, 0) as num_layers_probed,
    s.mean_active_traps, s.mean_active_traps_stderr,
    coalesce(s.num_layers_dequantised, 0) as num_layers_dequantised,
    coalesce(s.num_layers_fitted, 0) as num_layers_fitted,
    s.mean_alpha, s.weighted_alpha, s.median_alpha, s.std_alpha,
    s.mean_abs_alpha_minus_2, s.mean_abs_alpha_minus_2_stderr, s.share_alpha_2_6,
    s.num_over_trained, s.num_under_trained,
    s.mean_alpha_hat, s.mean_alpha_hat_stderr, s.mean_log_alpha_norm, s.mean_log_alpha_norm_stderr,
    s.mean_ks_distance,
    coalesce(s.num_layers_aligned, 0) as num_layers_aligned,
    s.mean_abs_erg_log_ratio, s.mean_abs_erg_log_ratio_stderr, s.mean_erg_delta,
    s.share_alpha_and_delta_low,
    coalesce(s.num_layers_ranked, 0) as num_layers_ranked, s.spearman_alpha_erg_delta,
    s.mean_log_norm, s.mean_log_spectral_norm, s.mean_stable_rank, s.frobenius_norm_sq,
    m.activation_sparsity, m.circuit_complexity,
    coalesce(m.asked, m.options_key, m.analysis_key) as compared_as
from internal.shown_units as m
left join internal.unit_scores as s using (model_id, revision, analysis_key);

-- Of the analyses of a revision the most complete one: the newest of those with at least nine tenths
-- of as many measured numbers (layers tested, fitted and aligned) as the one with most.
create or replace view model_scores as
with units as materialized (
    select *, num_layers_tested + num_layers_fitted + num_layers_aligned as num_measured
    from internal.analysis_scores
)
select * exclude (compared_as, num_measured, most)
from (select *, max(num_measured) over (partition by model_id, revision) as most from units)
qualify row_number() over (
    partition by model_id, revision
    order by num_measured >= 0.9 * most desc, committed_at desc, analysis_key desc) = 1;

-- The unit of every (model, revision) that model_scores and the trajectories take.
create or replace view current as
select sweep_id, model_id, revision, analysis_key, step, is_final, committed_at from model_scores;

-- The rows of one table that belong to these units, each revision once:
-- from current_rows('layers'), from current_rows('spectra'). With [layers] deltas they hold rows of
-- W - W_base as well (delta_base is not null).
create or replace macro current_rows(name) as table
from query_table(name) semi join current using (sweep_id, model_id, revision, analysis_key);
