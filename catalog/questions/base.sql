-- What did fine-tuning change against the base model, layer by layer?
--
-- Layers are joined on tensor, part and expert; the first are those whose alpha moved most. The base is
-- the one that the model names, at the revision it names, else at its newest one. Positive: the
-- fine-tune has more.
--
-- $model (model, required): the fine-tune
-- $base (model, null): the base; null is the model that the fine-tune names
-- $top (integer, 50): rows
with tuned as (
    from models_latest
    where internal.is_named(getvariable('model')::varchar, model_id, revision, is_final)
),
base as (
    select b.*
    from models_latest as b join tuned as t
        on case when getvariable('base') is null then b.model_id = t.base_model
            else internal.is_named(getvariable('base')::varchar, b.model_id, b.revision, b.is_final)
            end
        and (b.model_id, b.revision) <> (t.model_id, t.revision)
    qualify row_number() over (
        order by b.revision = t.base_revision desc nulls last, b.is_final desc, b.revision) = 1
),
own as (
    from layers_latest
    semi join tuned using (sweep_id, model_id, revision, analysis_key)
),
others as (
    from layers_latest
    semi join base using (sweep_id, model_id, revision, analysis_key)
)
select
    o.layer_index, o.tensor, o.part, o.expert, o.block, o.role,
    b.alpha as base_alpha, o.alpha, o.alpha - b.alpha as alpha_delta,
    b.num_traps as base_num_traps, o.num_traps, o.num_traps - b.num_traps as num_traps_delta,
    o.erg_log_ratio - b.erg_log_ratio as erg_log_ratio_delta,
    o.log_norm - b.log_norm as log_norm_delta,
    o.stable_rank - b.stable_rank as stable_rank_delta,
    b.model_id as base_model, b.revision as base_revision
from own as o join others as b
    on b.tensor = o.tensor
    and b.part is not distinct from o.part and b.expert is not distinct from o.expert
order by abs(alpha_delta) desc nulls last, o.layer_index
limit coalesce(getvariable('top'), 50);
