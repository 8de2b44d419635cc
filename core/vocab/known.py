"""The published vocabulary files of tiktoken: finding copies on this machine, and importing files from the user.

Files are identified by their SHA-256 alone, whatever their name.
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
_MAX_BYTES = 16 * 2**20
"""Larger files are not read; all published ones are much smaller."""
_MAX_FILES = 1000
"""Maximum files of a folder that are hashed."""


class PublishedFile(NamedTuple):
    """One published file."""

    file: str
    sha256: str
    url: str


FILES = (
    PublishedFile(
        "r50k_base.tiktoken",
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        f"{_OPENAI}/encodings/r50k_base.tiktoken",
    ),
    PublishedFile(
        "p50k_base.tiktoken",
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        f"{_OPENAI}/encodings/p50k_base.tiktoken",
    ),
    PublishedFile(
        "cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        f"{_OPENAI}/encodings/cl100k_base.tiktoken",
    ),
    PublishedFile(
        "o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        f"{_OPENAI}/encodings/o200k_base.tiktoken",
    ),
    PublishedFile(
        "vocab.bpe",
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        f"{_OPENAI}/gpt-2/encodings/main/vocab.bpe",
    ),
)
ENCODER = PublishedFile(
    "encoder.json",
    "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    f"{_OPENAI}/gpt-2/encodings/main/encoder.json",
)
"""Comes with vocab.bpe, which determines its content; accepted, so that both may be given."""

FILES_OF = {
    # GPT-2's merges were published in two formats, which give the same ids
    "gpt2": ("r50k_base.tiktoken", "vocab.bpe"),
    "r50k_base": ("r50k_base.tiktoken", "vocab.bpe"),
    "p50k_base": ("p50k_base.tiktoken",),
    "p50k_edit": ("p50k_base.tiktoken",),
    "cl100k_base": ("cl100k_base.tiktoken",),
    "o200k_base": ("o200k_base.tiktoken",),
    "o200k_harmony": ("o200k_base.tiktoken",),
}
"""The files that each of tiktoken's encodings can be made of: one is enough, the first is downloaded."""


class UnknownVocabularyError(UsageError):
    """A file is not one of the published ones."""

    doing = "import a vocabulary"


def published_file(file: str) -> PublishedFile:
    """The published file of the given name."""
    return next(known for known in FILES if known.file == file)


def imported_directory(workspace: Workspace) -> Path:
    """The directory of imported files."""
    return workspace.data / "vocabularies"


def candidate_paths(known: PublishedFile, workspace: Workspace) -> Iterator[Path]:
    """Paths where a copy of a published file may be: tiktoken's cache, then our imported files."""
    cache = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if cache is None:
        cache = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    if cache:
        yield Path(cache) / hashlib.sha1(known.url.encode()).hexdigest()
    yield imported_directory(workspace) / known.file


def find_file(name: str, workspace: Workspace) -> tuple[PublishedFile, bytes] | None:
    """A file for tiktoken's encoding `name`, and its content; None if there is none on this machine."""
    for file in FILES_OF[name]:
        known = published_file(file)
        for path in candidate_paths(known, workspace):
            try:
                content = _read_file(path)
            except OSError:
                continue
            if content is not None and hashlib.sha256(content).hexdigest() == known.sha256:
                return known, content
    return None


def import_files(paths: Sequence[Path], workspace: Workspace) -> list[PublishedFile]:
    """Copy each published file in `paths`, files or folders, to the data directory; returns those copied.

    Raises UnknownVocabularyError if a file is not published, a folder has no published file, or the files are not
    sufficient for a vocabulary; DiskError.
    """
    taken: dict[PublishedFile, bytes] = {}
    for path in paths:
        taken |= _from_folder(path) if path.is_dir() else _from_file(path)
    kept = [known for known in taken if known != ENCODER]
    if not kept:
        raise UnknownVocabularyError(
            "encoder.json alone does not say which tokens are merged first",
            where=", ".join(map(str, paths)),
            todo="give vocab.bpe, which comes with it",
        )
    directory = imported_directory(workspace)
    for known in kept:
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomic(directory / known.file, taken[known])
        except OSError as error:
            raise DiskError.from_oserror(error, directory / known.file) from None
    return kept


def encodings_of(known: PublishedFile) -> list[str]:
    """The encodings that can be made of a file."""
    return [name for name, files in FILES_OF.items() if known.file in files]


def _from_file(path: Path) -> dict[PublishedFile, bytes]:
    try:
        content = _read_file(path)
    except OSError as error:
        raise UnknownVocabularyError((error.strerror or str(error)).lower(), where=str(path)) from None
    if content is None:
        raise UnknownVocabularyError("it is no file of at most 16 MiB, which every vocabulary is", where=str(path))
    digest = hashlib.sha256(content).hexdigest()
    known = _with_digest(digest)
    if known is None:
        same_name = next((known for known in (*FILES, ENCODER) if known.file == path.name), None)
        raise UnknownVocabularyError(
            f"it is none of the published vocabulary files: its SHA-256 is {digest}"
            + (f", that of {same_name.file} is {same_name.sha256}" if same_name else ""),
            where=str(path),
            todo=f"fetch {same_name.url} again" if same_name else _known_files(),
        )
    return {known: content}


def _from_folder(folder: Path) -> dict[PublishedFile, bytes]:
    contents: dict[PublishedFile, bytes] = {}
    try:
        paths = sorted(folder.iterdir())[:_MAX_FILES]
    except OSError as error:
        raise UnknownVocabularyError((error.strerror or str(error)).lower(), where=str(folder)) from None
    for path in paths:
        with contextlib.suppress(OSError):  # unreadable files in a folder are skipped
            content = _read_file(path)
            known = _with_digest(hashlib.sha256(content).hexdigest()) if content is not None else None
            if known is not None and content is not None:
                contents[known] = content
    if not contents:
        raise UnknownVocabularyError(
            "none of the files in it is a published vocabulary", where=str(folder), todo=_known_files()
        )
    return contents


def _with_digest(digest: str) -> PublishedFile | None:
    return next((known for known in (*FILES, ENCODER) if known.sha256 == digest), None)


def _known_files() -> str:
    return "known are: " + ", ".join(f"{known.file} (SHA-256 {known.sha256[:16]}…)" for known in FILES)


def _read_file(path: Path) -> bytes | None:
    """Content of a file; None if it is not a regular file, or too large. Raises OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
        return None
    return path.read_bytes()
