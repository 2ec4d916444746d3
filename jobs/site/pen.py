"""Templates to pages: Jinja2 with autoescape on, the same frame around every page."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import UseError

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
STATIC = HERE / "static"
"""Scripts and styles that every page shares, ours and those of others (`vendor`)."""


@cache
def environment() -> Environment:
    """The templates. UseError where Jinja2 is not installed."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise UseError(f"the site needs {error.name}: pip install 'spectral-zoo[site]'") from error
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(template: str, *, root: str, **values: object) -> str:
    """A page of this template; `root` leads from the page to the folder of the site (`./` or `../`)."""
    return environment().get_template(f"{template}.html").render(root=root, **values)


def generator() -> str:
    """Hash of everything that makes a page: programs, templates, scripts, styles, and DuckDB's hash function."""
    import duckdb

    digest = hashlib.blake2b(digest_size=12)
    digest.update(duckdb.__version__.encode())
    for path in sorted(HERE.rglob("*")):
        if path.is_file() and path.suffix in {".py", ".html", ".js", ".css"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
