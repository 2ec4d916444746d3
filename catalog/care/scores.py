"""Writes the scores of merged units beside them, where boards read them (see catalog/read/rollup.py)."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from catalog.files.folder import Folder
from catalog.files.layout import HOT
from catalog.read.rollup import KEY, ROLLUP, version

_SCORES = f"""
select s.* exclude (model_id, revision, analysis_key), {KEY}
from rolling left join internal.unit_scores_of('rolling') as s using (model_id, revision, analysis_key)
"""


def roll_up(con: duckdb.DuckDBPyConnection, folder: Folder) -> None:
    """A file for every generation that has none, and none for any other or of another version.

    `con` has all views. A unit without a scored layer has a row of NULLs: it is known to have none.
    """
    con.execute(
        "create or replace temp view rolling as "
        "from internal.live_models where generation = getvariable('zoo_generation')"
    )
    shown = con.execute("select distinct generation from internal.live_models").fetchall()
    wanted = {f"{tier}.parquet": tier for (tier,) in shown if tier != HOT}
    there = set(folder.names(ROLLUP, version()))
    for name, tier in wanted.items():
        if name not in there:
            con.execute("set variable zoo_generation = ?", [tier])
            sink = pa.BufferOutputStream()
            pq.write_table(con.sql(_SCORES).to_arrow_table(), sink, compression="zstd")
            folder.put(sink.getvalue().to_pybytes(), ROLLUP, version(), name)
    for other in folder.folders(ROLLUP):
        for name in folder.names(ROLLUP, other):
            if other != version() or name not in wanted:
                folder.delete(ROLLUP, other, name)
