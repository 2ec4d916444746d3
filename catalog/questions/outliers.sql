-- Which layers stand apart from all layers of the same architecture and role?
--
-- z is robust (Iglewicz and Hoaglin 1993): 0.6745·(value − median)/MAD, over the newest revisions of all
-- models; where MAD is 0, (value − median)/(1.2533·mean absolute deviation). Beyond 3.5 is an outlier.
-- population: layers compared with. share_below: of them, how many are smaller.
--
-- $metric (text, 'alpha'): alpha, alpha_hat, ks_distance, erg_log_ratio, num_traps, trap_excess_max, stable_rank, matrix_entropy, log_spectral_norm or mp_softrank
-- $model (model, null): only layers of this model, still against all others
-- $family (text, null): only layers of this family
-- $min_z (number, 3.5): least |z| that is shown
-- $min_population (integer, 8): layers of the same architecture and role that are enough
-- $top (integer, 50): rows
with measured as (
    select
        m.model_id, m.revision, m.is_final, m.family, coalesce(m.architecture, m.family) as architecture,
        l.layer_index, l.tensor, l.part, l.expert, l.block, l.role,
        case coalesce(getvariable('metric'), 'alpha')
            when 'alpha' then l.alpha
            when 'alpha_hat' then l.alpha_hat
            when 'ks_distance' then l.ks_distance
            when 'erg_log_ratio' then l.erg_log_ratio
            when 'num_traps' then l.num_traps
            when 'trap_excess_max' then l.trap_excess_max
            when 'stable_rank' then l.stable_rank
            when 'matrix_entropy' then l.matrix_entropy
            when 'log_spectral_norm' then l.log_spectral_norm
            when 'mp_softrank' then l.mp_softrank
            else error(concat('$metric: got ', getvariable('metric'), '; wanted alpha, alpha_hat, '
                'ks_distance, erg_log_ratio, num_traps, trap_excess_max, stable_rank, '
                'matrix_entropy, log_spectral_norm or mp_softrank'))
        end as value
    from layers_latest as l join models_latest as m using (sweep_id, model_id, revision, analysis_key)
    where l.status = 'ok' and l.tied_to is null and m.is_final
),
centred as (
    select *,
        count(*) over alike as population,
        median(value) over alike as middle,
        percent_rank() over (partition by architecture, role order by value) as share_below
    from measured
    where value is not null
    window alike as (partition by architecture, role)
),
spread as (
    select *,
        median(abs(value - middle)) over alike as mad,
        avg(abs(value - middle)) over alike as mean_deviation
    from centred
    window alike as (partition by architecture, role)
),
scored as (
    select *,
        case when mad > 0 then 0.6745 * (value - middle) / mad
            when mean_deviation > 0 then (value - middle) / (1.2533 * mean_deviation) end as z
    from spread
)
select
    model_id, layer_index, tensor, part, expert, role, architecture,
    coalesce(getvariable('metric'), 'alpha') as metric, value, middle as median, z,
    share_below, population
from scored
where population >= coalesce(getvariable('min_population'), 8)
    and abs(z) >= coalesce(getvariable('min_z'), 3.5)
    and (getvariable('family') is null or family = getvariable('family')::varchar)
    and (getvariable('model') is null
        or internal.is_named(getvariable('model')::varchar, model_id, revision, is_final))
order by abs(z) desc, model_id, layer_index
limit coalesce(getvariable('top'), 50);
