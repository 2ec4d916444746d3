"""`zoo publish CATALOG PLACE`"""

from __future__ import annotations

from pathlib import Path

from jobs.screen.typed import Place


def publish(
    catalog: Place,
    place: str,
    *,
    title: str = "Spectral Zoo",
    spectra: bool = False,
    tables_only: bool = False,
    private: bool = False,
    dry_run: Path | None = None,
    quiet: bool = False,
) -> int:
    """Publish a catalog: its tables, boards, card, manifest and web pages, where others can have them.

    Names of machines, paths, specs and logs are left out; what looks like a token, or names this machine, stops it.

    Parameters
    ----------
    catalog
        Folder or URL of the catalog.
    place
        hf://datasets/OWNER/NAME or hf://spaces/OWNER/NAME (with the token in HF_TOKEN), a folder,
        or a URL that fsspec understands (s3://...). Empty, or one that was published to before.
    title
        Name of the release.
    spectra
        Also the eigenvalues of every layer, which are most of a catalog's bytes.
    tables_only
        Leave out the web pages.
    private
        A new repository on the Hub is private.
    dry_run
        Write the release into this empty folder, check it, and send nothing.
    quiet
        Nothing but errors and where it can be seen.
    """
    import tempfile

    from jobs.publish.release import make_release
    from jobs.publish.send import parse_place, send
    from jobs.screen.progress import Progress
    from jobs.screen.quantities import Quantity
    from zoo.errors import UseError

    progress = Progress(quiet=quiet)
    where = parse_place(place)
    if dry_run is not None and dry_run.exists() and any(dry_run.iterdir()):
        raise UseError(f"--dry-run: {dry_run} is not empty; give a new folder")
    with tempfile.TemporaryDirectory(prefix="zoo-release-") as aside:
        root = Path(aside) if dry_run is None else dry_run
        root.mkdir(parents=True, exist_ok=True)
        manifest = make_release(
            catalog,
            root,
            kind=where.kind,
            title=title,
            spectra=spectra,
            site=not tables_only,
            say=progress.say,
        )
        size = sum(file["bytes"] for file in manifest["files"])
        progress.say(
            f"{len(manifest['files']):,} files, {Quantity(size, 'bytes')}; nothing private in them"
        )
        if dry_run is not None:
            print(dry_run)
            return 0
        print(send(root, manifest, where, private=private, say=progress.say))
    return 0
