"""The folder or bucket of a catalog: files, locks, and a DuckDB that reads them."""
