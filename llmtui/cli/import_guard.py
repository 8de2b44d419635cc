"""Check that `core` is the package installed with this `llmtui`.

Other projects have directories called `core`, and PYTHONPATH is searched before site-packages.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class ForeignPackageError(Exception):
    """Another package called `core` was imported: LlmtuiError cannot be imported then."""


def ensure_own_core() -> None:
    """Import the `core` next to this package. Raises ForeignPackageError if another one was imported before."""
    # For this import only: site-packages at the front of the path could shadow the standard library
    sys.path.insert(0, str(PACKAGE_ROOT))
    try:
        core = importlib.import_module("core")
    finally:
        sys.path.remove(str(PACKAGE_ROOT))
    found = Path(core.__file__ or "").resolve().parent.parent
    if found != PACKAGE_ROOT or getattr(core, "__llmtui__", None) != getattr(core, "__version__", ""):
        raise ForeignPackageError(
            f"cannot start: its package `core` should be in {PACKAGE_ROOT}, but the one in {found} was imported; "
            "take that directory out of PYTHONPATH, or install llmtui with pipx or uv, apart from other packages"
        )
