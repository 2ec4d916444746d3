"""torch, loaded when something of it is used for the first time: whoever reads headers alone never waits for it.

The modules that decode import torch at their top, as they should. Where they are loaded and not called, a
stand-in under its name is enough; the first use of it loads the real one, whichever thread that is in.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType

_NAME = "torch"
_LOCK = threading.RLock()


class _Later(ModuleType):
    """Gives what the real module has."""

    def __getattr__(self, name: str) -> object:
        with _LOCK:
            if sys.modules.get(_NAME) is self:
                del sys.modules[_NAME]  # or the import would find this
                importlib.import_module(_NAME)
        return getattr(sys.modules[_NAME], name)


def torch_when_used() -> None:
    """From now on `import torch` costs nothing until something of it is used. Does nothing where it is loaded."""
    spec = importlib.util.find_spec(_NAME) if _NAME not in sys.modules else None
    if spec is not None:
        later = _Later(_NAME)
        later.__spec__ = spec
        sys.modules[_NAME] = later
