"""`zoo check`: what is wrong with the files and rows of a catalog. Reads everything, changes nothing.

Errors: torn or foreign files, columns that break the schema, a missing key, numbers that are not
finite, numbers that are NULL without a reason, rows that appear twice, units whose rows do not add
up. Notes: files no view shows (left by a killed or replaced commit), files to be compacted away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from catalog.files.folder import Folder
from catalog.files.layout import HOT, check_marker
from catalog.read.lacking import lacking
from catalog.read.query import ask
from catalog.read.views import connect
from catalog.schema import SCHEMA_VERSION, TABLES, UNIT_TABLES
from catalog.schema.arrow_types import arrow_schema
from catalog.schema.table import Table
from catalog.write.names import UnitKey

FindingKind = Literal[
    "torn", "foreign", "schema", "null_key", "not_finite", "no_reason", "duplicate", "incomplete",
    "orphan", "unfinished",
]  # fmt: skip
"""What can be wrong with a file or a row."""
_NOTES: tuple[FindingKind, ...] = ("orphan", "unfinished")
"""Kinds that are no error: no view shows such rows or files."""

_NO_REASON_QUERIES = {
    "layers": """
        select concat(model_id, ' layer ', layer_index, ' ', tensor) as what, case
            when status <> 'ok' and reason is null then 'status ' || status || ' without a reason'
            when status = 'ok' and lambda_max is null and reason is null
                then 'measured, but lambda_max is NULL without a reason'
            when alpha is null and status = 'ok' and coalesce(tail_status, 'ok') = 'ok'
                then 'alpha is NULL and tail_status does not say why'
            end as problem
        from layers where problem is not null""",
    "evaluations": """
        select concat(model_id, ' ', dataset, ' ', metric) as what,
            'value is NULL without a reason' as problem
        from evaluations where value is null and reason is null""",
}
"""Questions whose rows (`what`, `problem`) are numbers that are NULL without a reason, by table."""
_ROW_KEYS = {
    "layers": "layer_index",
    "spectra": "layer_index",
    "traps": "layer_index, replicate, trap_index",
    "tensors": "tensor",
}
"""Columns that no two rows of one unit share, by table."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    kind: FindingKind
    """What sort of thing it is."""
    where: str
    """The file, or the table and row."""
    detail: str
    """What is there, what was wanted, what to do."""

    @property
    def severity(self) -> Literal["error", "note"]:
        """`note`: no view shows it, and `zoo compact` clears it away."""
        return "note" if self.kind in _NOTES else "error"


def check(root: str) -> tuple[Finding, ...]:
    """Everything wrong with the catalog `root`, files first; empty when all is well.

    Rows are checked only when every file can be read.
    """
    folder = Folder.parse(root)
    check_marker(folder)
    findings = [f for table in TABLES.values() for f in _check_table(folder, table)]
    findings += _leftovers(folder)
    if not any(f.kind in ("torn", "schema", "foreign") for f in findings):
        findings += _check_rows(root)
    return tuple(findings)


def findings_table(findings: tuple[Finding, ...]) -> pa.Table:
    """Findings as a table with the columns severity, kind, where, detail."""
    names = ("severity", "kind", "where", "detail")
    return pa.table(
        {name: pa.array([getattr(f, name) for f in findings], pa.string()) for name in names}
    )


def _check_table(folder: Folder, table: Table) -> Iterator[Finding]:
    """What is wrong with the files of a table."""
    for tier in folder.folders(table.name):
        if tier != HOT and not (tier[:1] == "g" and tier[1:].isdigit()):
            yield Finding(
                "foreign", folder.at(table.name, tier), "not a generation of ours; move it away"
            )
            continue
        for name in folder.names(table.name, tier):
            yield from _check_file(folder, table, tier, name)


def _check_file(folder: Folder, table: Table, tier: str, name: str) -> Iterator[Finding]:
    """What is wrong with one file of the generation `tier`."""
    path = folder.at(table.name, tier, name)
    if not name.endswith(".parquet"):
        yield Finding("foreign", path, "not a Parquet file; move it away")
        return
    try:
        file = pq.ParquetFile(pa.BufferReader(folder.read(table.name, tier, name)))
        rows = file.read()
    except (pa.ArrowInvalid, OSError) as error:
        yield Finding(
            "torn", path,
            f"{error}; we rename whole files only, so this was cut or changed later: "
            f"move it away and sweep again, which measures its models anew",
        )  # fmt: skip
        return
    yield from _check_schema(table, path, file, rows)


def _check_schema(
    table: Table, path: str, file: pq.ParquetFile, rows: pa.Table
) -> Iterator[Finding]:
    """Where the columns of a whole file break the schema that it says it has."""
    metadata = file.metadata.metadata or {}
    version = metadata.get(b"zoo.schema", b"none").decode()
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        yield Finding("schema", path, f"zoo.schema {version}, wanted up to {SCHEMA_VERSION}")
        return
    wanted = arrow_schema(table.name)
    earlier = {column.was for column in table.columns if column.since > int(version)}
    for column in rows.schema.names:
        if column not in wanted.names and column not in earlier:
            yield Finding("schema", path, f"unknown column {column!r}")
    for column in table.columns:
        if column.name not in rows.schema.names:
            if column.since <= int(version):
                yield Finding("schema", path, f"no column {column.name!r}")
            continue
        values = rows.column(column.name)
        kind = wanted.field(column.name).type
        if values.type != kind:
            yield Finding("schema", path, f"{column.name}: {values.type}, wanted {kind}")
            continue
        if not column.nullable and values.null_count:
            yield Finding("null_key", path, f"{column.name}: {values.null_count} NULLs")
        flat = pc.list_flatten(values) if pa.types.is_list(kind) else values
        if pa.types.is_floating(flat.type):
            bad = len(flat) - flat.null_count - (pc.sum(pc.is_finite(flat)).as_py() or 0)
            if bad:
                yield Finding("not_finite", path, f"{column.name}: {bad} values are NaN or Inf")


def _leftovers(folder: Folder) -> Iterator[Finding]:
    """Files that are being written, or were when their writer was killed."""
    for name in folder.names(folder.aside) if folder.is_local else ():
        if name.endswith(".tmp"):
            yield Finding(
                "unfinished", folder.at(folder.aside, name), "being written, or left by a kill"
            )


def _check_rows(root: str) -> list[Finding]:
    """What is wrong with the rows that the views show, and what no view shows."""
    findings: list[Finding] = []
    with connect(root) as con:
        for table, query in _NO_REASON_QUERIES.items():
            findings += [
                Finding("no_reason", f"{table}: {row['what']}", row["problem"])
                for row in ask(con, query).to_pylist()
            ]
        for table, key in _ROW_KEYS.items():
            query = (
                f"select model_id, revision, analysis_key, {key}, count(*) as n from {table} "
                f"group by all having n > 1"
            )
            findings += [
                Finding("duplicate", f"{table}: {json.dumps(row)}", f"{row['n']} rows, wanted one")
                for row in ask(con, query).to_pylist()
            ]
        findings += _lost_rows(root, con)
        for table in UNIT_TABLES:
            query = f"""
                select generation, sweep_id, model_id, revision, count(*) as n
                from internal.raw_{table} anti join internal.shown_models
                    using (sweep_id, model_id, revision, analysis_key, generation)
                group by all"""
            for row in ask(con, query).to_pylist():
                findings.append(
                    Finding(
                        "orphan", f"{table}/{row['generation']}: {row['model_id']}",
                        f"{row['n']} rows of sweep {row['sweep_id']} that no view shows (replaced, pruned, "
                        f"or their commit was killed); zoo compact drops them, the latter after a day",
                    )
                )  # fmt: skip
    return findings


def _lost_rows(root: str, con: duckdb.DuckDBPyConnection) -> list[Finding]:
    """Units that have other numbers of rows than their `models` row names."""
    todo = "a sweep that lists it measures it again"
    lacks = lacking(root)
    findings = [
        Finding(
            "incomplete", f"{lack.table}: {lack.key.model_id} @ {lack.key.revision}",
            f"{lack.num_rows} rows, its models row says {lack.wanted}; {todo}",
        )
        for lack in lacks
    ]  # fmt: skip
    query = """
        select m.model_id, m.revision, m.analysis_key, m.layers_analysed + coalesce(m.deltas_analysed, 0) as wanted,
            count(l.layer_index) as measured
        from models as m left join layers as l
            on l.sweep_id = m.sweep_id and l.model_id = m.model_id
            and l.revision = m.revision and l.analysis_key = m.analysis_key
            and l.status = 'ok'
        group by all having wanted <> measured"""
    named = {lack.key for lack in lacks if lack.table == "layers"}
    for row in ask(con, query).to_pylist():
        if UnitKey(row["model_id"], row["revision"], row["analysis_key"]) not in named:
            findings.append(
                Finding(
                    "incomplete", f"layers: {row['model_id']} @ {row['revision']}",
                    f"{row['measured']} measured layers, its models row says {row['wanted']}; "
                    f"sweep it again with --overwrite always",
                )
            )  # fmt: skip
    return findings
