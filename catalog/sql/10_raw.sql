-- Every file of every table. Needs `set variable zoo = 'ROOT'`.
--
-- generation is the folder of the file: `hot` as committed, `g000001` and up as compacted; the
-- greater one is the newer. `g000000` holds an empty file that pins the columns.
-- zoo_files is for programs that define the views faster: binding a view opens the files it names.
create schema if not exists internal;

create or replace view internal.raw_layers as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/layers/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

create or replace view internal.raw_traps as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/traps/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

create or replace view internal.raw_models as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/models/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

create or replace view internal.raw_evaluations as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/evaluations/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

create or replace view internal.raw_spectra as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/spectra/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

create or replace view internal.raw_tensors as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/tensors/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

create or replace view internal.raw_failures as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/failures/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

create or replace view internal.raw_sweeps as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/sweeps/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

create or replace view internal.raw_listing as
select * exclude (filename), split_part(filename, '/', -2) as generation
from read_parquet(
    getvariable('zoo') || '/listing/' || coalesce(getvariable('zoo_files'), '*/*.parquet'),
    filename = true, hive_partitioning = false,
    union_by_name = coalesce(getvariable('zoo_union'), false));

