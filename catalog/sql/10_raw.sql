-- Every file of every table, with the file each row came from. Needs `set variable zoo = 'ROOT'`.
-- Of two parts with the same key the one with the greater path is the newer: 'hot' > 'cold', and
-- cold files are numbered.
create or replace view raw_layers as
from read_parquet(getvariable('zoo') || '/layers/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

create or replace view raw_traps as
from read_parquet(getvariable('zoo') || '/traps/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

create or replace view raw_models as
from read_parquet(getvariable('zoo') || '/models/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

create or replace view raw_evaluations as
from read_parquet(getvariable('zoo') || '/evaluations/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

create or replace view raw_spectra as
from read_parquet(getvariable('zoo') || '/spectra/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

create or replace view raw_tensors as
from read_parquet(getvariable('zoo') || '/tensors/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

create or replace view raw_failures as
from read_parquet(getvariable('zoo') || '/failures/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

create or replace view raw_sweeps as
from read_parquet(getvariable('zoo') || '/sweeps/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

create or replace view raw_listing as
from read_parquet(getvariable('zoo') || '/listing/*/*.parquet',
                  union_by_name = true, filename = true, hive_partitioning = false);

