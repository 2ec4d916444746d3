-- Does a score go with the results that model cards publish?
--
-- One row per score and published metric: Spearman's rho over the models with both, n, and the two-sided p
-- by Student's law (NULL under 10 models, where that law is no good). A model with several different
-- results of a metric
-- is left out and counted in num_ambiguous. Many pairs are tested at once: of twenty, one is below 0.05 by
-- chance.
--
-- $dataset (text, null): a piece of the name of the dataset; null is any
-- $metric (text, null): name of the metric; null is any
-- $score (text, null): mean_traps, mean_abs_alpha_minus_2, mean_abs_erg_log_ratio, mean_alpha_hat or mean_alpha; null is each of them
-- $family (text, null): only this family
-- $min_models (integer, 3): models that a correlation needs
with scores as (
    select model_id, revision, mean_traps, mean_abs_alpha_minus_2, mean_abs_erg_log_ratio,
        mean_alpha_hat, mean_alpha
    from model_scores
    where is_final and (getvariable('family') is null or family = getvariable('family')::varchar)
),
long as (
    from (unpivot scores on * exclude (model_id, revision) into name score value value)
    where getvariable('score') is null or score = getvariable('score')::varchar
),
published as (
    select model_id, revision, coalesce(dataset, '') as dataset, metric,
        count(distinct value) as num_values, any_value(value) as result
    from evaluations semi join current using (sweep_id, model_id, revision, analysis_key)
    where value is not null
        and (getvariable('dataset') is null or contains(lower(dataset), lower(getvariable('dataset'))))
        and (getvariable('metric') is null or lower(metric) = lower(getvariable('metric')))
    group by all
),
paired as (
    from long join published using (model_id, revision)
),
ambiguous as (
    select score, dataset, metric, count(*) filter (where num_values > 1) as num_ambiguous
    from paired
    group by all
),
ranks as (
    select score, dataset, metric,
        rank() over (partition by score, dataset, metric order by round(value, 9))
            + (count(*) over (partition by score, dataset, metric, round(value, 9)) - 1) / 2 as rank_x,
        rank() over (partition by score, dataset, metric order by result)
            + (count(*) over (partition by score, dataset, metric, result) - 1) / 2 as rank_y
    from paired
    where num_values = 1
),
correlated as (
    select score, dataset, metric, count(*) as num_models,
        case when stddev_pop(rank_x) > 0 and stddev_pop(rank_y) > 0 then corr(rank_x, rank_y) end
            as spearman
    from ranks
    group by all
)
select
    score, dataset, metric, num_models, spearman,
    internal.correlation_p(spearman, num_models) as p_value, num_ambiguous
from correlated join ambiguous using (score, dataset, metric)
where num_models >= coalesce(getvariable('min_models'), 3)
order by p_value nulls last, score, dataset, metric;
