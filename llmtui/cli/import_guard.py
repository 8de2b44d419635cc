"""Makes sure that `core` is the package that belongs to this `llmtui`.

The name is short, so people have folders of that name, and a PYTHONPATH that holds one is searched before the
place this program is installed in.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]


class ForeignPackageError(Exception):
    """Another package called `core` was imported. Nothing of ours can be used then, not even its exceptions."""


def ensure_ours() -> None:
    """Import the `core` beside this package. Raises ForeignPackageError when another one got in before."""
    # Only for this one import: in front for good, an installed package could shadow the standard library
    sys.path.insert(0, str(HERE))
    try:
        core = importlib.import_module("core")
    finally:
        sys.path.remove(str(HERE))
    found = Path(core.__file__ or "").resolve().parent.parent
    if found != HERE or getattr(core, "__llmtui__", None) != getattr(core, "__version__", ""):
        raise ForeignPackageError(
            f"cannot start: its package `core` should be in {HERE}, but the one in {found} was imported; "
            "take that directory out of PYTHONPATH, or install llmtui with pipx or uv, apart from other packages"
        )
