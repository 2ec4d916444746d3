"""The tables, one family a file. `catalog.schema` gathers them."""
