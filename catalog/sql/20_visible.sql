-- What a reader may see: of each commit one file, and of each unit only what its models row vouches
-- for (same sweep). So a unit is there whole or not at all, also while it is written or compacted.
create or replace view models as
select * exclude (filename) from raw_models
qualify filename = max(filename) over (partition by model_id, revision, analysis_key);

create or replace view failures as
select * exclude (filename) from raw_failures
qualify filename = max(filename) over (partition by sweep_id, model_id, revision, analysis_key);

create or replace view sweeps as
select * exclude (filename) from raw_sweeps
qualify filename = max(filename) over (partition by sweep_id);

create or replace view listing as
select * exclude (filename) from raw_listing
qualify filename = max(filename) over (partition by sweep_id);

create or replace view layers as
with shown as (
    select sweep_id, model_id, revision, analysis_key, max(filename) as filename
    from raw_layers semi join models using (sweep_id, model_id, revision, analysis_key)
    group by all
)
select raw.* exclude (filename)
from raw_layers as raw semi join shown using (sweep_id, model_id, revision, analysis_key, filename);

create or replace view traps as
with shown as (
    select sweep_id, model_id, revision, analysis_key, max(filename) as filename
    from raw_traps semi join models using (sweep_id, model_id, revision, analysis_key)
    group by all
)
select raw.* exclude (filename)
from raw_traps as raw semi join shown using (sweep_id, model_id, revision, analysis_key, filename);

create or replace view evaluations as
with shown as (
    select sweep_id, model_id, revision, analysis_key, max(filename) as filename
    from raw_evaluations semi join models using (sweep_id, model_id, revision, analysis_key)
    group by all
)
select raw.* exclude (filename)
from raw_evaluations as raw semi join shown using (sweep_id, model_id, revision, analysis_key, filename);

create or replace view spectra as
with shown as (
    select sweep_id, model_id, revision, analysis_key, max(filename) as filename
    from raw_spectra semi join models using (sweep_id, model_id, revision, analysis_key)
    group by all
)
select raw.* exclude (filename)
from raw_spectra as raw semi join shown using (sweep_id, model_id, revision, analysis_key, filename);

create or replace view tensors as
with shown as (
    select sweep_id, model_id, revision, analysis_key, max(filename) as filename
    from raw_tensors semi join models using (sweep_id, model_id, revision, analysis_key)
    group by all
)
select raw.* exclude (filename)
from raw_tensors as raw semi join shown using (sweep_id, model_id, revision, analysis_key, filename);

