"""Sources behind a URL that fsspec understands (s3://, gs://, ...): a folder, a weight file, or a glob.

A service that cannot be reached is a failure of this source, as it is for the Hub.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fsspec.core import url_to_fs

from jobs.sources.registry import Say
from jobs.sources.steps import revision_of, step_of, unread_revision, with_steps
from jobs.sources.target import Origin, Target, failure_of
from jobs.spec.tables import Source
from zoo.errors import NotFoundError, TransientError, UseError, ZooError
from zoo.io.configs import base_named_by_adapter
from zoo.io.file_names import shown
from zoo.io.fsspec_store import FsspecLocation, FsspecStore
from zoo.io.local import BESIDE_A_FILE
from zoo.io.weight_files import is_model_file

KIND = "bucket"


def list_targets(source: Source, where: str, say: Say) -> Iterator[Target]:
    """See `SourceModule.list_targets`."""
    pattern = re.compile(source.step_pattern) if source.step_pattern else None
    urls = {Path(url): url for url in _matching_urls(source.path or "", where)}
    wanted = list(urls) if pattern is None else with_steps(list(urls), pattern, where, say)
    for path in wanted:
        yield _target(source, urls[path], pattern)


def list_again(target: Target) -> Target:
    """See `SourceModule.list_again`."""
    return _pinned(replace(target, failure=None))


def _matching_urls(url: str, where: str) -> list[str]:
    """`url`, or what the glob in it matches. UseError when that is nothing, TransientError when it cannot
    be asked."""
    if not glob.has_magic(url):
        return [url]
    try:
        fs, path = url_to_fs(url)
        matches = fs.glob(path, detail=True)
    except (ImportError, ValueError) as error:
        raise UseError(f"{where}.path: cannot list {url!r}: {error}") from error
    except OSError as error:
        raise TransientError(f"cannot list {url!r}: {error}") from error
    models = [
        fs.unstrip_protocol(name)
        for name, info in sorted(matches.items())
        if info["type"] == "directory" or is_model_file(name.rpartition("/")[2])
    ]
    if not models:
        raise UseError(
            f"{where}.path: got {url!r}; wanted a URL that matches folders or weight files"
        )
    return models


def _target(source: Source, url: str, pattern: re.Pattern[str] | None) -> Target:
    folder, last = _split(url)
    is_file = is_model_file(last)
    name = folder.rpartition("/")[2] if pattern else (Path(last).stem if is_file else last)
    return _pinned(
        Target(
            model_id=f"{source.name or 'local'}/{shown(name)}",
            revision="",
            location=None,
            source=f"path:{shown(url)}",
            step=step_of(Path(url), pattern),
            family=source.family,
            origin=Origin(KIND, url, folder if pattern else url),
        )
    )


def _pinned(target: Target) -> Target:
    """`target` with the fingerprint of what lies at its URL now, or with what is wrong there."""
    url = target.origin.path
    folder, last = _split(url)
    is_file = is_model_file(last)
    files = (last, *BESIDE_A_FILE) if is_file else None
    try:
        store = FsspecStore(FsspecLocation(folder if is_file else url, files, target.model_id))
        try:
            pinned, sizes = store.pinned(), store.files()
            named_base = base_named_by_adapter(store)
        finally:
            store.close()
        if is_file and last not in sizes:
            raise NotFoundError(f"nothing at {url}; check the URL")
    except (ZooError, OSError) as error:
        stand_in = unread_revision(Path(url))
        return replace(target, location=None, revision=stand_in, failure=failure_of(error))
    revision = revision_of(pinned.revision or "", target.step)
    return replace(
        target,
        location=replace(pinned, revision=revision),
        revision=revision,
        nbytes=sum(sizes.values()),
        named_base=named_base,
    )


def _split(url: str) -> tuple[str, str]:
    """The folder of a URL, and its last part."""
    folder, _, last = url.rstrip("/").rpartition("/")
    return folder, last
