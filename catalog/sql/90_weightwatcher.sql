-- layers_latest under WeightWatcher 0.7.7's column names, for scripts written for it. NULL where it
-- would say -1. Different by intent: num_traps is its own recipe (ours is layers.num_traps);
-- eigenvalues of convolutions are not halved; detX_val is in the units of the eigenvalues and
-- detX_val_unrescaled in mean-1 units, as its columns hold them (the names are swapped there).
-- weak_rank_loss (eigenvalues below 1e-6, whatever the scale) is always NULL: ask `spectra` for it.
create or replace view weightwatcher as
select
    model_id, revision,
    layer_index as layer_id,
    split_part(regexp_replace(tensor, '\.weight$', ''), '.', -1) as name,
    concat_ws('.', regexp_replace(tensor, '\.weight$', ''), part, expert) as longname,
    case
        when role = 'embedding' then 'embedding'
        when receptive_field > 1 then 'conv2d'
        else 'dense'
    end as layer_type,
    n as N, m as M, q as Q, receptive_field as rf, num_evals,
    num_evals is not null and status = 'ok' as has_esd,
    alpha, alpha_hat as alpha_weighted, ks_distance as D, alpha_stderr as sigma, xmin, xmax,
    num_tail as num_pl_spikes,
    case when alpha is null then 'failed' else 'success' end as status,
    case
        when alpha is null then null
        when tail_warning = 'over_trained' then 'over-trained'
        when tail_warning = 'under_trained' then 'under-trained'
        else ''
    end as warning,
    frobenius_norm_sq as norm, log_norm, lambda_max as spectral_norm, log_spectral_norm,
    log_alpha_norm, stable_rank, matrix_entropy as entropy, matrix_rank,
    num_evals - matrix_rank as rank_loss,
    null::bigint as weak_rank_loss,
    lambda_max, sqrt(lambda_max) as sv_max, sqrt(greatest(lambda_min, 0)) as sv_min,
    mp_num_spikes as num_spikes, mp_sigma as sigma_mp, mp_softrank,
    mp_edge_upper as bulk_max, mp_edge_lower as bulk_min,
    sqrt(num_evals / nullif(frobenius_norm_sq, 0)) as W_scale,
    rand_lambda_max as max_rand_eval, rand_distance,
    rand_lambda_max / nullif(lambda_max, 0) as ww_softrank,
    lambda_max - rand_lambda_max as ww_maxdist,
    num_traps_ww as num_traps, num_traps_ww as rand_num_spikes,
    rand_mp_sigma as rand_sigma_mp, rand_mp_edge_upper as rand_bulk_max,
    rand_mp_edge_upper / nullif(rand_lambda_max, 0) as rand_mp_softrank,
    rand_mp_edge_upper * pow((sqrt(q) - 1) / (sqrt(q) + 1), 2) as rand_bulk_min,
    case when rand_lambda_max is not null then sqrt(num_evals / nullif(frobenius_norm_sq, 0)) end
        as rand_W_scale,
    erg_num as detX_num, erg_num as num_ERG_spikes, erg_gap as ERG_gap,
    erg_lambda_min * frobenius_norm_sq / nullif(num_evals, 0) as detX_val,
    erg_lambda_min as detX_val_unrescaled
from layers_latest
order by model_id, revision, layer_index;
