-- Which models are nearest by their spectra, whatever their names and cards say?
--
-- Layers are put into cells by role, part and relative depth (twentieths of the last block). A cell has four
-- numbers, means over its layers, all in nats: ln λ_max, ln Σλ, the entropy of λ/Σλ, and ln of the layer's
-- parameters. distance is the root of the mean squared difference over the cells that both models have: 0 for
-- equal weights, small between a fine-tune and its base, near 1 where a typical number differs by a factor
-- e. shared: cells of both over cells of either. Of every other model the nearest revision.
--
-- $model (model, required): the model to start from
-- $min_shared (number, 0.5): least share of common cells
-- $top (integer, 10): rows
with placed as (
    select
        l.model_id, l.revision, l.role, l.part,
        round(20 * coalesce(
            l.block / nullif(max(l.block) over (partition by l.model_id, l.revision), 0), -1)) as depth,
        ln(l.lambda_max) as largest,
        ln(10) * l.log_norm as total,
        case when l.matrix_rank > 1 then l.matrix_entropy * ln(l.matrix_rank) else 0 end as entropy,
        ln(l.num_params) as size
    from layers_latest as l
    where l.status = 'ok' and l.tied_to is null and l.lambda_max > 0 and l.log_norm is not null
),
cells as materialized (
    select model_id, revision, role, part, depth,
        avg(largest) as largest, avg(total) as total, avg(entropy) as entropy, avg(size) as size
    from placed
    group by all
),
sizes as (
    select model_id, revision, count(*) as num_cells from cells group by all
),
wanted as (
    select model_id, revision from models_latest
    where internal.is_named(getvariable('model')::varchar, model_id, revision, is_final)
),
own as (
    from cells semi join wanted using (model_id, revision)
),
compared as (
    select
        c.model_id, c.revision, count(*) as num_shared,
        round(sqrt(avg(((c.largest - o.largest) ** 2 + (c.total - o.total) ** 2
            + coalesce((c.entropy - o.entropy) ** 2, 0) + coalesce((c.size - o.size) ** 2, 0)) / 4)), 12)
            as distance
    from cells as c join own as o
        on c.role is not distinct from o.role and c.part is not distinct from o.part
        and c.depth = o.depth
    where (c.model_id, c.revision) not in (select (model_id, revision) from wanted)
    group by c.model_id, c.revision
),
rated as (
    select *,
        num_shared / (num_cells + (select count(*) from own) - num_shared) as shared
    from compared join sizes using (model_id, revision)
)
select
    r.model_id, r.revision, m.step, r.distance, r.shared, r.num_shared as num_cells,
    m.family, m.num_params, m.base_model,
    coalesce(m.weights_key = w.weights_key, false) as has_equal_weight_files
from rated as r
join models_latest as m using (model_id, revision)
cross join (
    select any_value(weights_key) as weights_key, any_value(model_id) as own_id
    from models_latest semi join wanted using (model_id, revision)
) as w
where r.shared >= coalesce(getvariable('min_shared'), 0.5)
qualify row_number() over (
    partition by r.model_id, r.model_id = own_id order by r.distance, r.revision) = 1
order by r.distance, r.model_id
limit coalesce(getvariable('top'), 10);
