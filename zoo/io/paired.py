"""A model and its base model as one store: the base's files lie in a folder of their own.

An adapter that is merged is read so, and the base's tensors get the prefix `BASE`, which no adapter's own
tensors have. A fine-tune that is compared with its base is read as two models (`PairedStore.parts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from zoo.io.configs import read_configs
from zoo.io.files import ByteFile, Counters
from zoo.io.store import Location, Store

FOLDER: Final = "@base"
"""Folder of the pair in which the files of the base model lie."""
BASE: Final = f"{FOLDER}."
"""Prefix of the name of every tensor of the base model."""


@dataclass(frozen=True, slots=True)
class PairedLocation:
    """Where an adapter or a fine-tune lies, and where its base model does."""

    adapter: Location
    base: Location

    def open(self) -> PairedStore:
        """See `Location.open`."""
        adapter = self.adapter.open()
        try:
            return PairedStore(adapter, self.base.open())
        except BaseException:
            adapter.close()
            raise


class PairedStore:
    """See `Store`; id and revision are the adapter's."""

    def __init__(self, adapter: Store, base: Store) -> None:
        self._adapter, self._base = adapter, base
        self.span_bytes = max(adapter.span_bytes, base.span_bytes)

    @property
    def parts(self) -> tuple[Store, Store]:
        """The model's own store and that of its base, for whoever reads each by itself."""
        return self._adapter, self._base

    @property
    def model_id(self) -> str:
        """See `Store.model_id`."""
        return self._adapter.model_id

    @property
    def revision(self) -> str:
        """See `Store.revision`."""
        return self._adapter.revision

    @property
    def weights_key(self) -> str | None:
        """See `Store.weights_key`: of the adapter and of its base."""
        ours, theirs = self._adapter.weights_key, self._base.weights_key
        return None if ours is None or theirs is None else f"{ours} on {theirs}"

    @property
    def counters(self) -> Counters:
        """Of both together, as they stand."""
        ours, theirs = self._adapter.counters, self._base.counters
        return Counters(ours.bytes_read + theirs.bytes_read, ours.requests + theirs.requests)

    def files(self) -> Mapping[str, int]:
        """See `Store.files`."""
        base = {f"{FOLDER}/{name}": size for name, size in self._base.files().items()}
        return {**base, **self._adapter.files()}

    def refused(self) -> Mapping[str, str]:
        """See `Store.refused`."""
        base = {f"{FOLDER}/{name}": reason for name, reason in self._base.refused().items()}
        return {**base, **self._adapter.refused()}

    def open(self, name: str) -> ByteFile:
        """See `Store.open`."""
        folder, _, rest = name.partition("/")
        if folder != FOLDER:
            return self._adapter.open(name)
        return _Renamed(self._base.open(rest), name)

    def pinned(self) -> PairedLocation:
        """See `Store.pinned`."""
        return PairedLocation(self._adapter.pinned(), self._base.pinned())

    def verify(self) -> None:
        """See `Store.verify`."""
        self._adapter.verify()
        self._base.verify()

    def close(self) -> None:
        """See `Store.close`."""
        self._adapter.close()
        self._base.close()


def configs_of(store: Store, *, are_apart: bool) -> dict[str, Mapping[str, object]]:
    """The config files of a store by name; `are_apart`: of a pair as of two models, which are compared."""
    if not (are_apart and isinstance(store, PairedStore)):
        return read_configs(store)
    own, base = store.parts
    return configs_of_both(read_configs(own), read_configs(base))


def configs_of_both(
    own: Mapping[str, Mapping[str, object]], base: Mapping[str, Mapping[str, object]]
) -> dict[str, Mapping[str, object]]:
    """The config files of a model and of its base, which is read apart, by name in the pair."""
    return {**own, **{f"{FOLDER}/{name}": config for name, config in base.items()}}


class _Renamed:
    """A file of the base under its name in the pair."""

    def __init__(self, file: ByteFile, name: str) -> None:
        self._file = file
        self.name = name

    @property
    def size(self) -> int:
        """See `ByteFile.size`."""
        return self._file.size

    def read_into(self, start: int, buffer: memoryview) -> None:
        """See `ByteFile.read_into`."""
        self._file.read_into(start, buffer)

    def close(self) -> None:
        """See `ByteFile.close`."""
        self._file.close()
