-- Layer by layer: what a model changed against the newest revision of its base model, when both are
-- in the catalog. Positive: the model has more. Joined on tensor, part and expert.
create or replace view deltas as
select
    l.model_id, l.revision, m.base_model, b.revision as base_revision,
    l.layer_index, l.tensor, l.part, l.expert, l.block, l.role,
    l.num_rows, l.num_cols, b.num_rows as base_num_rows, b.num_cols as base_num_cols,
    l.alpha, b.alpha as base_alpha, l.alpha - b.alpha as alpha_delta,
    l.num_traps, b.num_traps as base_num_traps, l.num_traps - b.num_traps as num_traps_delta,
    l.trap_excess_max - b.trap_excess_max as trap_excess_max_delta,
    l.erg_log_ratio - b.erg_log_ratio as erg_log_ratio_delta,
    l.erg_delta - b.erg_delta as erg_delta_delta,
    l.log_norm - b.log_norm as log_norm_delta,
    l.log_spectral_norm - b.log_spectral_norm as log_spectral_norm_delta,
    l.stable_rank - b.stable_rank as stable_rank_delta,
    l.matrix_entropy - b.matrix_entropy as matrix_entropy_delta,
    l.rand_distance - b.rand_distance as rand_distance_delta
from models_latest as m
join layers_latest as l using (sweep_id, model_id, revision, analysis_key)
join models_latest as bm on bm.model_id = m.base_model and bm.is_final and bm.model_id <> m.model_id
join layers_latest as b
    on b.sweep_id = bm.sweep_id and b.model_id = bm.model_id and b.revision = bm.revision
    and b.analysis_key = bm.analysis_key
    and b.tensor = l.tensor
    and b.part is not distinct from l.part
    and b.expert is not distinct from l.expert
order by l.model_id, l.revision, l.layer_index;
