"""The folder a site is written to: whole files, and a manifest of what each page was made of.

Only files that the manifest names are ever replaced or deleted, so that a wrong `--out` costs nothing.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from zoo.errors import UseError

MANIFEST = "_site.json"
"""Says that the folder is a site of ours, which files are in it, and what the pages were made of."""


@dataclass(slots=True)
class SiteFolder:
    """A site being written. Ends with `finish`; until then the old manifest stands."""

    root: Path
    generator: str
    """Hash of all that makes pages; another one makes every page again."""
    known: dict[str, str]
    """Fingerprint of each page's rows as they are on disk, by name of the page; from the manifest."""
    old_files: frozenset[str]
    """Files of the last time."""
    num_written: int = 0
    num_bytes: int = 0
    files: set[str] = field(default_factory=set)
    """Files of this time, relative, with /."""
    marks: dict[str, str] = field(default_factory=dict)
    """Fingerprints of this time."""

    @classmethod
    def open(cls, root: Path, generator: str, *, anew: bool = False) -> SiteFolder:
        """The folder `root`, made where there is none. UseError where it holds what is not ours, unless `anew`."""
        manifest = root / MANIFEST
        if root.exists() and not root.is_dir():
            raise UseError(f"--out: {root} is a file; wanted a folder for the site")
        root.mkdir(parents=True, exist_ok=True)
        if not manifest.exists():
            if not anew and any(root.iterdir()):
                raise UseError(
                    f"--out: {root} is not empty and holds no site (no {MANIFEST}); give an empty or new folder"
                )
            return cls(root, generator, {}, frozenset())
        try:
            stored = json.loads(manifest.read_text(encoding="utf-8"))
            known = stored["pages"] if stored["generator"] == generator else {}
            return cls(root, generator, dict(known), frozenset(stored["files"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UseError(
                f"--out: {manifest} cannot be read ({error}); delete {root} and write the site again"
            ) from error

    def is_current(self, page: str, mark: str, files: tuple[str, ...]) -> bool:
        """True when the files of a page are there and were made of the same rows; they are kept then."""
        if self.known.get(page) != mark or not all((self.root / name).exists() for name in files):
            return False
        self.keep(page, mark, files)
        return True

    def keep(self, page: str, mark: str, files: tuple[str, ...]) -> None:
        """Note what a page was made of."""
        self.files.update(files)
        self.marks[page] = mark

    def put(self, name: str, content: str | bytes) -> None:
        """Write a file, whole; one with the same content is left alone."""
        data = content.encode("utf-8", "replace") if isinstance(content, str) else content
        path = self.root / name
        self.files.add(name)
        if name in self.old_files and _holds(path, data):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.tmp")
        aside.write_bytes(data)
        os.replace(aside, path)
        self.num_written += 1
        self.num_bytes += len(data)

    def finish(self) -> int:
        """Write the manifest and delete pages of models that are gone; how many files that were."""
        stored = {"generator": self.generator, "pages": self.marks, "files": sorted(self.files)}
        aside = self.root / f".{MANIFEST}.tmp"
        aside.write_text(json.dumps(stored, indent=0), encoding="utf-8")
        os.replace(aside, self.root / MANIFEST)
        gone = sorted(self.old_files - self.files)
        for name in gone:
            path = self.root / name
            if path.resolve().is_relative_to(self.root.resolve()):
                path.unlink(missing_ok=True)
        return len(gone)


def _holds(path: Path, data: bytes) -> bool:
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False
