"""The pipeline: download → preprocess → tokenize → train → sample. No Textual, no printing, no terminal."""

from pathlib import Path

__version__ = "0.1.0"
__llmtui__ = __version__  # lets `ensure_own_core` tell this package from any other that is called `core`

ROOT = Path(__file__).resolve().parent.parent
"""The directory that holds the packages `core` and `llmtui`: a checkout, or site-packages."""
