"""Importing this makes `open_store` accept a `HubLocation`.

The one module here whose import has an effect, and that is all it does; the Hub client itself is
imported when the first location is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.hub.location import HubLocation
from zoo.io.store import open_store

if TYPE_CHECKING:
    from zoo.hub.repository import HubStore


@open_store.register(HubLocation)
def _(location: HubLocation) -> HubStore:
    from zoo.hub.repository import HubStore
    from zoo.hub.session import process_client

    return HubStore(location, process_client(location.endpoint))
