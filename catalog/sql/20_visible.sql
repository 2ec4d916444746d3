-- What a reader may see: each unit whole or not at all, also while it is written or compacted.
-- Of a unit's models rows the newest generation counts, and its sweep and generation say which rows
-- of the other tables belong to it.
-- A row with pruned_at is a tombstone: it stands for its unit, and says that it is gone.
create or replace view internal.newest_models as
from internal.raw_models
qualify generation = max(generation) over (partition by model_id, revision, analysis_key);

create or replace view internal.live_models as
from internal.newest_models where pruned_at is null;

-- Folders are listed at different moments. A program that wants one moment for a whole query reads
-- live_models into snapshot_models first (data is written before its models row, and deleted long
-- after it) and sets zoo_snapshot; one of the two branches is folded away.
create table if not exists internal.snapshot_models as from internal.live_models limit 0;

create or replace view internal.shown_models as
from internal.live_models where getvariable('zoo_snapshot') is null
union all
from internal.snapshot_models where getvariable('zoo_snapshot') is not null;

create or replace view models as
select * exclude (generation) from internal.shown_models;

create or replace view failures as
select * exclude (generation) from internal.raw_failures
qualify generation = max(generation) over (
    partition by sweep_id, model_id, revision, analysis_key);

create or replace view sweeps as
select * exclude (generation) from internal.raw_sweeps
qualify generation = max(generation) over (partition by sweep_id);

create or replace view listing as
select * exclude (generation) from internal.raw_listing
qualify generation = max(generation) over (partition by sweep_id);

create or replace view layers as
select * exclude (generation)
from internal.raw_layers semi join internal.shown_models
    using (sweep_id, model_id, revision, analysis_key, generation);

create or replace view traps as
select * exclude (generation)
from internal.raw_traps semi join internal.shown_models
    using (sweep_id, model_id, revision, analysis_key, generation);

create or replace view evaluations as
select * exclude (generation)
from internal.raw_evaluations semi join internal.shown_models
    using (sweep_id, model_id, revision, analysis_key, generation);

create or replace view spectra as
select * exclude (generation)
from internal.raw_spectra semi join internal.shown_models
    using (sweep_id, model_id, revision, analysis_key, generation);

create or replace view tensors as
select * exclude (generation)
from internal.raw_tensors semi join internal.shown_models
    using (sweep_id, model_id, revision, analysis_key, generation);

