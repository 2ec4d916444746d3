-- Every file of every table. Needs `set variable zoo = 'ROOT'`.
--
-- generation is the folder of the file: `hot` as committed, `g000001` and up as compacted; the
-- greater one is the newer. `g000000` holds empty files, so that there always is one.
-- The columns are today's, whatever a file has: what an older version did not write is NULL, what a
-- newer version adds is not looked at. A file of someone else has no sweep_id, and is not shown.
-- A trap's eigenvalue was called lambda in files of schema 1, a reserved word today.
-- zoo_files is for programs that define the views faster: binding a view opens the files it names.
create schema if not exists internal;

create or replace macro internal.rows_of(folder) as table
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/' || folder || '/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false, schema = getvariable('zoo_columns')[folder])
where sweep_id is not null;

create or replace view internal.raw_layers as from internal.rows_of('layers');
create or replace view internal.raw_traps as
select * exclude ("lambda") replace (coalesce(eigenvalue, "lambda") as eigenvalue)
from internal.rows_of('traps');
create or replace view internal.raw_models as from internal.rows_of('models');
create or replace view internal.raw_evaluations as from internal.rows_of('evaluations');
create or replace view internal.raw_spectra as from internal.rows_of('spectra');
create or replace view internal.raw_tensors as from internal.rows_of('tensors');
create or replace view internal.raw_failures as from internal.rows_of('failures');
create or replace view internal.raw_sweeps as from internal.rows_of('sweeps');
create or replace view internal.raw_listing as from internal.rows_of('listing');
