-- Which models lead a leaderboard, within an architecture and a size band?
--
-- One row a model with a rank; place counts anew among those that are left.
--
-- $board (text, 'alpha'): traps, alignment, alpha, alpha_hat or log_alpha_norm
-- $family (text, null): only this family of architectures, such as llama; null is any
-- $architecture (text, null): only this architecture, such as LlamaForCausalLM; null is any
-- $min_params (number, null): at least so many parameters
-- $max_params (number, null): at most so many parameters
-- $min_layers (integer, 5): layers behind a score that a rank needs
-- $top (integer, 20): rows
select
    row_number() over (order by rank) as place,
    rank as rank_among_all, model_id, family, architecture, step, num_params,
    score, num_layers_behind as num_layers, analysis, revision
from internal.board(
    coalesce(getvariable('board'), 'alpha'), coalesce(getvariable('min_layers'), 5), null)
where standing = 'ranked'
    and (getvariable('family') is null or family = getvariable('family')::varchar)
    and (getvariable('architecture') is null
        or architecture = getvariable('architecture')::varchar)
    and (getvariable('min_params') is null or num_params >= getvariable('min_params')::double)
    and (getvariable('max_params') is null or num_params <= getvariable('max_params')::double)
order by rank
limit coalesce(getvariable('top'), 20);
