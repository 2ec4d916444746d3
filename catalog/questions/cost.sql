-- What did each model cost: bytes, requests, seconds?
--
-- One row a model, its newest revision, the dearest first. seconds is wall time of the unit; the seconds of
-- reading, spectra and shuffles are sums over its layers. Of a model whose numbers were taken over from
-- equal weights, measured_at says where they were measured: that is where the cost was.
--
-- $family (text, null): only this family
-- $top (integer, 20): rows
with spent as (
    select sweep_id, model_id, revision, analysis_key, count(*) as num_layers,
        sum(read_s) as read_s, sum(spectrum_s) as spectrum_s, sum(shuffle_s) as shuffle_s
    from layers_latest
    group by all
)
select
    m.model_id, m.family, m.num_params, s.num_layers,
    m.seconds, m.seconds / nullif(m.num_params, 0) * 1e9 as seconds_per_billion_params,
    s.read_s, s.spectrum_s, s.shuffle_s,
    m.bytes_read, m.bytes_read / nullif(m.bytes_analysed, 0) as bytes_read_per_byte_analysed,
    m.requests, m.device, m.host, m.measured_at
from models_latest as m left join spent as s using (sweep_id, model_id, revision, analysis_key)
where m.is_final
    and (getvariable('family') is null or m.family = getvariable('family')::varchar)
order by m.seconds desc nulls last, m.model_id
limit coalesce(getvariable('top'), 20);
