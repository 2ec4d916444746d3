"""Writes docs/tables.md and catalog/sql/05_columns.sql from catalog/schema/ and the views of catalog/sql.

python docs/make_tables.py            rewrite both
python docs/make_tables.py --check    fail if one is out of date
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from catalog.read import views
from catalog.schema import SCHEMA_VERSION, TABLES, UNIT_TABLES
from catalog.schema.keys import KEYS
from catalog.schema.table import Column, Table, Type
from catalog.write import commits

PAGE = Path(__file__).resolve().parent / "tables.md"
SQL = PAGE.parents[1] / "catalog" / "sql"

INTRO = f"""# Tables and views

Written by `python docs/make_tables.py` from `catalog/schema/` and `catalog/sql/`; a test holds it up to date.
Schema version {SCHEMA_VERSION}.

A catalog is a folder (or bucket) of Parquet files, one folder a table. Any Parquet reader can open them; the views
exist in `zoo sql` and in any DuckDB that has read `catalog/sql/*.sql`. Read through the views: they show each unit
whole or not at all, while sweeps write and after files are merged. A reader of your own may meet a file that is being
replaced and fail (`TProtocolException`, `Out of buffer`, no such file): ask again, as `zoo sql` does.

```console
$ zoo sql results "show tables"
$ zoo sql results "describe layers_latest"
$ zoo sql results "select model_id, tensor, alpha from layers_latest where alpha < 2 order by alpha limit 20"
```

At the prompt of `zoo sql results`, `.tables` and `.schema layers_latest` say what there is, and Tab completes it. The
stock `duckdb` (1.4 or newer) gets the same views by one line; the file goes on working while the catalog grows:

```console
$ zoo sql results --views > views.sql && duckdb -init views.sql -c "from leaderboard_traps"
```

Without `zoo`, the files of `catalog/sql` in the order of their names do the same, after `set variable zoo = 'results'`.

## Without the views

The folders hold every analysis of every revision: one that was measured twice has its layers twice, rows of a unit
that is not finished (or was replaced, until `zoo compact`) are there as well, and while files are merged some rows
are in two. So count nothing before you have chosen. In DuckDB with the views, `from current_rows('layers')` (or
`'spectra'`, `'traps'`, ...) has each revision once, by the analysis that `model_scores` takes; the view `current`
is the list of these units, and `zoo sql results "from current" --format csv` writes it for other programs. With
pyarrow and pandas alone, the newest analysis of every revision:

```python
import pyarrow.dataset as ds

unit = ["sweep_id", "model_id", "revision", "analysis_key"]
models = ds.dataset("results/models", format="parquet").to_table(columns=[*unit, "committed_at"])
newest = models.to_pandas().sort_values("committed_at").drop_duplicates(["model_id", "revision"], keep="last")
layers = ds.dataset("results/layers", format="parquet").to_table().to_pandas()
layers = layers.merge(newest[unit]).drop_duplicates([*unit, "layer_index"])
```

A reader that is pointed at `results` itself meets Parquet files alone: locks and what is being written lie in
`_tmp`, beside `_zoo-catalog.json`, and names with an underscore are passed over (catalogs that version 0.1.0 made
have `tmp` and `zoo-catalog.json`: point readers at the folder of a table). It gets rows of all tables at once, so
name a folder anyway.

## Numbers

A number that could not be computed is NULL, and `status` or `reason` says why; there is no -1 and no NaN. λ are the
eigenvalues of WᵀW (squared singular values, no 1/N), n ≥ m are the sides of W, mean-1 units are λ·count/Σλ.
"""

KEYS_NOTE = """## Keys

Every table but `sweeps` starts with these columns. (model_id, revision, analysis_key) is the *unit*: what is
measured, committed and skipped the next time.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRO, KEYS_NOTE, _columns(KEYS)]
    parts += [_table(table) for table in TABLES.values()]
    parts += ["## Views", *_views()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _table(table: Table) -> str:
    shared = {column.name for column in KEYS}
    own = tuple(column for column in table.columns if column.name not in shared)
    keyed = len(own) < len(table.columns)
    note = "The keys, and:" if keyed else "All columns:"
    when = "Shown once the unit's `models` row is there. " if table.name in UNIT_TABLES else ""
    return f"## `{table.name}`\n\n{table.meaning} {when}{note}\n\n{_columns(own)}"


def _columns(columns: tuple[Column, ...]) -> str:
    lines = ["| column | type | unit | meaning |", "| --- | --- | --- | --- |"]
    for column in columns:
        unit = "" if column.unit in ("text", "flag") else column.unit
        meaning = column.meaning if column.nullable else f"{column.meaning} Never NULL."
        lines.append(f"| `{column.name}` | {_type(column.type)} | {unit} | {_cell(meaning)} |")
    return "\n".join(lines) + "\n"


def _type(kind: Type) -> str:
    """The name of a type for people."""
    if kind is Type.TIME:
        return "timestamp"
    return re.sub(r"^list<item: (\w+)>$", r"list of \1", kind)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _views() -> Iterator[str]:
    """Public views by file of catalog/sql: the file's comment, then each view with its own."""
    columns = _view_columns()
    for path in sorted(SQL.glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        names = [n for n in re.findall(r"create or replace view (\S+) as", text) if "." not in n]
        names = [name for name in names if name not in TABLES]
        if not names:
            continue
        head = _comment(text)
        first = True
        for name in names:
            yield f"### `{name}`"
            comment = _comment_above(text, name)
            if first and comment != head:
                yield head
            if comment:
                yield comment
            yield _columns_in_words(columns[name])
            first = False


def _columns_in_words(columns: list[str]) -> str:
    """The columns of a view; those of a whole table by the table's name."""
    for table in TABLES.values():
        whole = [column.name for column in table.columns]
        if columns[: len(whole)] == whole:
            rest = [f"`{column}`" for column in columns[len(whole) :]]
            return f"The columns of `{table.name}`{', and ' if rest else ''}{', '.join(rest)}."
    return "Columns: " + ", ".join(f"`{column}`" for column in columns) + "."


def _view_columns() -> dict[str, list[str]]:
    """Columns of every view, asked of an empty catalog."""
    with tempfile.TemporaryDirectory() as root:
        commits.prepare(root)
        with views.connect(root) as con:
            rows = con.execute(
                "select table_name, column_name from duckdb_columns() "
                "where schema_name = 'main' order by table_name, column_index"
            ).fetchall()
    columns_of: dict[str, list[str]] = {}
    for view, column in rows:
        columns_of.setdefault(view, []).append(column)
    return columns_of


def _comment(text: str) -> str:
    """The comment that a file starts with."""
    return _paragraphs(re.match(r"(?:--.*\n)*", text)[0])  # type: ignore[index]


def _comment_above(text: str, view: str) -> str:
    """The comment directly above a view."""
    match = re.search(rf"((?:^--.*\n)+)create or replace view {view} as", text, re.MULTILINE)
    return _paragraphs(match[1]) if match else ""


def _paragraphs(comment: str) -> str:
    lines = [line.removeprefix("--").strip() for line in comment.splitlines()]
    paragraphs = "\n".join(lines).split("\n\n")
    return "\n\n".join(p.strip() for p in paragraphs if not p.startswith("The CTEs"))


SQL_TYPES = {
    Type.TEXT: "varchar",
    Type.INT: "bigint",
    Type.INT32: "integer",
    Type.REAL: "double",
    Type.FLAG: "boolean",
    Type.TIME: "timestamptz",
    Type.REALS32: "float[]",
    Type.INTS32: "integer[]",
    Type.INTS: "bigint[]",
}
"""DuckDB's names of the types."""

COLUMNS_SQL = """-- The columns of every table, as read_parquet takes them (`schema`), in the variable `zoo_columns`.
-- Written by `python docs/make_tables.py` from catalog/schema/; a test holds it up to date.
set variable zoo_columns = (
    with known (table_name, place, name, type) as (values
{rows}
    ),
    tables as (
        select table_name,
            map_from_entries(list(
                (name, {{name: name, type: type, default_value: null}}) order by place)) as columns
        from known
        group by table_name
    )
    select map_from_entries(list((table_name, columns))) from tables);
"""


def columns_sql() -> str:
    """The whole of catalog/sql/05_columns.sql."""
    rows = [
        f"        ('{table.name}', {place}, '{column.name}', '{SQL_TYPES[column.type]}')"
        for table in TABLES.values()
        for place, column in enumerate(table.columns)
    ]
    rows += [
        f"        ('{table.name}', {len(table.columns)}, '{column.was}', '{SQL_TYPES[column.type]}')"
        for table in TABLES.values()
        for column in table.columns
        if column.was
    ]
    return COLUMNS_SQL.format(rows=",\n".join(rows))


def main() -> int:
    """Rewrite, or check."""
    written = {SQL / "05_columns.sql": columns_sql}  # first: the page asks the views
    written[PAGE] = page
    for path, make in written.items():
        new = make()
        if "--check" not in sys.argv:
            path.write_text(new, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != new:
            print(f"{path} is out of date; run python docs/make_tables.py", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
