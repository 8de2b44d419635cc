"""The published vocabulary files: which there are, where copies of them lie, and taking one in from a user.

A file is known by its SHA-256 alone, whatever its name and wherever it was found.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from core.errors import DiskError, UsageError
from core.storage.files import write_atomic
from core.storage.workspace import Workspace

_OPENAI = "https://openaipublic.blob.core.windows.net"
_LARGEST = 16 * 2**20
"""Bytes; no published file comes near, and what is larger need not be read."""
_LOOKED_AT = 1000
"""Files of a folder that are hashed at most."""


class Published(NamedTuple):
    """One file, as its maker publishes it."""

    file: str
    sha256: str
    url: str


FILES = (
    Published(
        "r50k_base.tiktoken",
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        f"{_OPENAI}/encodings/r50k_base.tiktoken",
    ),
    Published(
        "p50k_base.tiktoken",
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        f"{_OPENAI}/encodings/p50k_base.tiktoken",
    ),
    Published(
        "cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        f"{_OPENAI}/encodings/cl100k_base.tiktoken",
    ),
    Published(
        "o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        f"{_OPENAI}/encodings/o200k_base.tiktoken",
    ),
    Published(
        "vocab.bpe",
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        f"{_OPENAI}/gpt-2/encodings/main/vocab.bpe",
    ),
)
ENCODER = Published(
    "encoder.json",
    "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    f"{_OPENAI}/gpt-2/encodings/main/encoder.json",
)
"""Comes with vocab.bpe, from which everything in it follows; known so that handing over both is no mistake."""

MADE_OF = {
    # GPT-2's merges were published twice; both files give the same ids
    "gpt2": ("r50k_base.tiktoken", "vocab.bpe"),
    "r50k_base": ("r50k_base.tiktoken", "vocab.bpe"),
    "p50k_base": ("p50k_base.tiktoken",),
    "p50k_edit": ("p50k_base.tiktoken",),
    "cl100k_base": ("cl100k_base.tiktoken",),
    "o200k_base": ("o200k_base.tiktoken",),
    "o200k_harmony": ("o200k_base.tiktoken",),
}
"""tiktoken's vocabularies, and the files each can be made of: one is enough, the first is fetched."""


class UnknownVocabularyError(UsageError):
    """A file is none of the published ones."""

    doing = "import a vocabulary"


def published(file: str) -> Published:
    """The published file of that name."""
    return next(known for known in FILES if known.file == file)


def imported(workspace: Workspace) -> Path:
    """The directory where files that a user handed over are kept."""
    return workspace.data / "vocabularies"


def places(known: Published, workspace: Workspace) -> Iterator[Path]:
    """Where a copy of a published file may lie on this machine: tiktoken's cache, then our own files."""
    cache = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if cache is None:
        cache = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    if cache:
        yield Path(cache) / hashlib.sha1(known.url.encode()).hexdigest()
    yield imported(workspace) / known.file


def find(name: str, workspace: Workspace) -> tuple[Published, bytes] | None:
    """A file that the vocabulary `name` of tiktoken can be made of, and its content; None: there is none here."""
    for file in MADE_OF[name]:
        known = published(file)
        for path in places(known, workspace):
            try:
                content = _content(path)
            except OSError:
                continue
            if content is not None and hashlib.sha256(content).hexdigest() == known.sha256:
                return known, content
    return None


def import_files(paths: Sequence[Path], workspace: Workspace) -> list[Published]:
    """Keep each published file among `paths` (files, or folders to look through); what was kept.

    Raises UnknownVocabularyError where a file is none, a folder has none, or nothing was given that ids can be made of;
    DiskError.
    """
    taken: dict[Published, bytes] = {}
    for path in paths:
        taken |= _in_folder(path) if path.is_dir() else _in_file(path)
    kept = [known for known in taken if known != ENCODER]
    if not kept:
        raise UnknownVocabularyError(
            "encoder.json alone does not say which tokens are merged first",
            where=", ".join(map(str, paths)),
            todo="give vocab.bpe, which comes with it",
        )
    directory = imported(workspace)
    for known in kept:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(directory / known.file, taken[known])
        except OSError as error:
            raise DiskError.from_oserror(error, directory / known.file) from None
    return kept


def served_by(known: Published) -> list[str]:
    """The vocabularies that can be made of a file."""
    return [name for name, files in MADE_OF.items() if known.file in files]


def _in_file(path: Path) -> dict[Published, bytes]:
    try:
        content = _content(path)
    except OSError as error:
        raise UnknownVocabularyError((error.strerror or str(error)).lower(), where=str(path)) from None
    if content is None:
        raise UnknownVocabularyError("it is no file of at most 16 MiB, which every vocabulary is", where=str(path))
    digest = hashlib.sha256(content).hexdigest()
    known = _known(digest)
    if known is None:
        same_name = next((known for known in (*FILES, ENCODER) if known.file == path.name), None)
        raise UnknownVocabularyError(
            f"it is none of the published vocabulary files: its SHA-256 is {digest}"
            + (f", that of {same_name.file} is {same_name.sha256}" if same_name else ""),
            where=str(path),
            todo=f"fetch {same_name.url} again" if same_name else _expected(),
        )
    return {known: content}


def _in_folder(folder: Path) -> dict[Published, bytes]:
    found: dict[Published, bytes] = {}
    try:
        paths = sorted(folder.iterdir())[:_LOOKED_AT]
    except OSError as error:
        raise UnknownVocabularyError((error.strerror or str(error)).lower(), where=str(folder)) from None
    for path in paths:
        with contextlib.suppress(OSError):  # what cannot be read is not what was meant
            content = _content(path)
            known = _known(hashlib.sha256(content).hexdigest()) if content is not None else None
            if known is not None and content is not None:
                found[known] = content
    if not found:
        raise UnknownVocabularyError(
            "none of the files in it is a published vocabulary", where=str(folder), todo=_expected()
        )
    return found


def _known(digest: str) -> Published | None:
    return next((known for known in (*FILES, ENCODER) if known.sha256 == digest), None)


def _expected() -> str:
    return "known are: " + ", ".join(f"{known.file} (SHA-256 {known.sha256[:16]}…)" for known in FILES)


def _content(path: Path) -> bytes | None:
    """What is in a file; None when it is no regular file or too large to be a vocabulary. Raises OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
        return None
    return path.read_bytes()
