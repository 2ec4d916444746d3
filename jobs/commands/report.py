"""`zoo report CATALOG --out SITE`"""

from __future__ import annotations

from pathlib import Path

from jobs.screen.typed import Place


def report(
    catalog: Place, *, out: Path = Path("site"), title: str = "Spectral Zoo", quiet: bool = False
) -> int:
    """Write a catalog as web pages: leaderboards, a page a model, comparisons, failures, the SQL of every table.

    They open from a disk (file://) or any web host and load nothing from elsewhere. The same command again makes
    only the pages whose rows have changed.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    out
        Folder to write to: a new or empty one, or a site of before.
    title
        Name of the site, at the top of every page.
    quiet
        Nothing but errors and the path of the first page.
    """
    from jobs.screen.progress import Progress
    from jobs.screen.quantities import Quantity
    from jobs.site.build import build_site

    progress = Progress(quiet=quiet)
    built = build_site(catalog, out, title=title, say=progress.say)
    kept = built.num_models - built.num_made
    progress.say(
        f"{built.num_models:,} models: {built.num_made:,} pages made, {kept:,} unchanged; "
        f"{Quantity(built.num_bytes, 'bytes')} written in {built.seconds:.1f} s. Open in a browser:"
    )
    print(built.index)
    return 0
