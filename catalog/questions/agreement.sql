-- Do the leaderboards rank the models alike?
--
-- One row per pair of scores, over the newest revisions of models with both: Spearman's rho (equal values
-- share their mean rank), its two-sided p by Student's law (NULL under 10 models, where that law is no
-- good), and Kendall's tau-b, which is NULL over 3,000 models: it would compare ten million pairs. 1: the same order;
-- 0: no relation. A score: mean_traps, mean_abs_alpha_minus_2, mean_abs_erg_log_ratio, mean_alpha_hat,
-- max_trap_excess; smaller is better in all.
--
-- $family (text, null): only this family
-- $min_layers (integer, 5): layers behind a score
with scores as (
    select model_id,
        case when num_layers_tested >= coalesce(getvariable('min_layers'), 5) then mean_traps end
            as mean_traps,
        case when num_layers_tested >= coalesce(getvariable('min_layers'), 5) then max_trap_excess end
            as max_trap_excess,
        case when num_layers_fitted >= coalesce(getvariable('min_layers'), 5)
            then mean_abs_alpha_minus_2 end as mean_abs_alpha_minus_2,
        case when num_layers_fitted >= coalesce(getvariable('min_layers'), 5) then mean_alpha_hat end
            as mean_alpha_hat,
        case when num_layers_aligned >= coalesce(getvariable('min_layers'), 5)
            then mean_abs_erg_log_ratio end as mean_abs_erg_log_ratio
    from model_scores
    where is_final and (getvariable('family') is null or family = getvariable('family')::varchar)
),
long as materialized (
    select model_id, name, round(value, 9) as value
    from (unpivot scores on * exclude (model_id) into name name value value)
),
pairs as materialized (
    select a.name as score_a, b.name as score_b, a.model_id, a.value as x, b.value as y
    from long as a join long as b on a.model_id = b.model_id and a.name < b.name
),
ranks as (
    select score_a, score_b,
        rank() over (partition by score_a, score_b order by x)
            + (count(*) over (partition by score_a, score_b, x) - 1) / 2 as rank_x,
        rank() over (partition by score_a, score_b order by y)
            + (count(*) over (partition by score_a, score_b, y) - 1) / 2 as rank_y
    from pairs
),
spearman as (
    select score_a, score_b, count(*) as n,
        case when stddev_pop(rank_x) > 0 and stddev_pop(rank_y) > 0 then corr(rank_x, rank_y) end as rho
    from ranks
    group by score_a, score_b
),
signs as (
    select p.score_a, p.score_b,
        sum(sign(p.x - o.x) * sign(p.y - o.y)) as balance,
        sum(abs(sign(p.x - o.x))) as untied_x, sum(abs(sign(p.y - o.y))) as untied_y
    from pairs as p
    join pairs as o on p.score_a = o.score_a and p.score_b = o.score_b and p.model_id < o.model_id
    semi join (from spearman where n <= 3000) as few
        on few.score_a = p.score_a and few.score_b = p.score_b
    group by p.score_a, p.score_b
)
select
    s.score_a, s.score_b, s.n as num_models, s.rho as spearman,
    internal.correlation_p(s.rho, s.n) as p_value,
    k.balance / nullif(sqrt(k.untied_x) * sqrt(k.untied_y), 0) as kendall
from spearman as s left join signs as k using (score_a, score_b)
order by s.score_a, s.score_b;
