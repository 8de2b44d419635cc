"""Artifacts: directories that are complete or absent, with a manifest of their content and origin."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from core import __version__
from core.errors import BusyError, LlmtuiError
from core.parsing import ParseError, parse_json, read_json
from core.storage.files import (
    fsync_directory,
    fsync_file,
    remove_tree,
    replace_tree,
    replacing,
    sha256,
    sweep,
    write_atomic,
)
from core.storage.locks import Lock

SCHEMA = 2
"""Version of the manifest. Since 2 it has a checksum (`seal`), which detects damage in the manifest itself."""

MANIFEST = "manifest.json"
_SEAL = re.compile(rb'"seal":"([0-9a-f]{64})"')
_NO_SEAL = b'"seal":""'
UNFINISHED = "partial-"
"""Prefix of files in a staging directory that survive an interruption without being part of the artifact."""

Facts = dict[str, int | float | str]


class DamagedError(LlmtuiError):
    """An artifact does not match its manifest."""

    doing = "read this artifact"


class AlteredArtifactError(DamagedError):
    """The content of a file has changed since it was written, although its size is the same."""

    def __init__(self, artifact: Path, file: str) -> None:
        super().__init__(f"{file} has changed since it was written", where=str(artifact))
        self.artifact = artifact


class NewerVersionError(DamagedError):
    """An artifact is complete, but was made by a newer version of llmtui."""


class InUseError(BusyError):
    """Another run is making the same artifact."""

    doing = "make this artifact"


class FileFacts(Struct, frozen=True, kw_only=True):
    """One file of an artifact."""

    bytes: int
    sha256: str
    facts: Facts = {}
    """Metadata from the stage that wrote it, such as the documents in a shard."""


class Manifest(Struct, frozen=True, kw_only=True):
    """Metadata of an artifact. Written last, so that its presence means the artifact is complete."""

    schema: int = SCHEMA
    stage: str
    fingerprint: str
    """Fingerprint of everything that determines the content."""
    inputs: dict[str, str] = {}
    """Fingerprints of the artifacts it was made from, by stage."""
    recipe: dict[str, Any] = {}
    """The section of the recipe that made it."""
    facts: Facts = {}
    files: dict[str, FileFacts] = {}
    version: str = __version__
    made_at: float = 0.0
    """Seconds since the epoch."""
    seal: str = ""
    """SHA-256 of the manifest with an empty seal."""


class _ManifestVersion(Struct):
    """The fields that manifests of all versions have."""

    schema: int = 1
    version: str = "unknown"


def seal(manifest: bytes) -> bytes:
    """A manifest in JSON, with its seal filled in."""
    blank = _SEAL.sub(_NO_SEAL, manifest, count=1)
    digest = hashlib.sha256(blank).hexdigest()
    return blank.replace(_NO_SEAL, _NO_SEAL[:-1] + digest.encode() + b'"', 1)


def _read_manifest(path: Path) -> Manifest:
    """The manifest in the directory `path`.

    Raises DamagedError, or NewerVersionError if it is complete but of a newer version.
    """
    try:
        raw = (path / MANIFEST).read_bytes()
        head = parse_json(raw, _ManifestVersion)
        if raw != seal(raw) if _SEAL.search(raw) else head.schema > 1:
            raise DamagedError("its manifest has changed since it was written", where=str(path))
        if head.schema > SCHEMA:
            raise NewerVersionError(
                f"it was made by a newer version of llmtui ({head.version})", where=str(path), todo="update llmtui"
            )
        return parse_json(raw, Manifest)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DamagedError(f"its manifest cannot be read ({reason})", where=str(path)) from None
    except ParseError as error:
        raise DamagedError(f"its manifest cannot be read ({error})", where=str(path)) from None


def fingerprint(*parts: Any) -> str:
    """16 hex digits that change when anything in `parts` (structs, dicts, numbers, text) changes."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


class Artifact:
    """A complete artifact on disk."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest

    @classmethod
    def open(cls, path: Path, *, verify: bool = False) -> Artifact:
        """Read the manifest in `path` and check that its files exist with their sizes.

        verify: also read every file and compare its digest (about 1.7 GB/s). Raises DamagedError, NewerVersionError.
        """
        manifest = _read_manifest(path)
        for name, facts in manifest.files.items():
            file = path / name
            try:
                size = file.stat().st_size
            except OSError:
                raise DamagedError(f"{name} is missing", where=str(path)) from None
            if size != facts.bytes:
                raise DamagedError(f"{name} has {size:,} bytes instead of {facts.bytes:,}", where=str(path))
            try:
                changed = verify and sha256(file) != facts.sha256
            except OSError as error:
                raise DamagedError(f"{name} cannot be read ({error.strerror})", where=str(path)) from None
            if changed:
                raise AlteredArtifactError(path, name)
        return cls(path, manifest)

    def verify(self, pattern: str = "*") -> Iterator[int]:
        """Read the files that match `pattern` and compare their digests; yields the bytes of each verified file.

        Raises AlteredArtifactError, DamagedError.
        """
        for file in self.files(pattern):
            facts = self.manifest.files[file.name]
            try:
                changed = sha256(file) != facts.sha256
            except OSError as error:
                raise DamagedError(f"{file.name} cannot be read ({error.strerror})", where=str(self.path)) from None
            if changed:
                raise AlteredArtifactError(self.path, file.name)
            yield facts.bytes

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def facts(self) -> Facts:
        return self.manifest.facts

    def content_fingerprint(self) -> str:
        """Fingerprint of the content of its files alone: the next stage is skipped if it is equal."""
        return fingerprint({name: facts.sha256 for name, facts in self.manifest.files.items()})

    def files(self, pattern: str = "*") -> list[Path]:
        """Its files that match `pattern`, in the order of their names."""
        return [self.path / name for name in sorted(self.manifest.files) if Path(name).match(pattern)]


def published_files(final: Path) -> dict[str, FileFacts]:
    """The complete files by name of the artifact `final`, also of one that a process is making; empty without one."""
    with contextlib.suppress(DamagedError):
        return _read_manifest(final).files
    with contextlib.suppress(OSError, ParseError):
        return read_json(_ledger(final), dict[str, FileFacts])
    return {}


def _staging(final: Path) -> Path:
    return final.with_name(f"{final.name}.partial")


def _ledger(final: Path) -> Path:
    return _staging(final) / ".published.json"


class Staging:
    """An artifact under construction, in a temporary directory beside its final one.

    Published files survive the death of the process; the next process that opens the same artifact continues from
    there. `finish` makes it an artifact. `open` is a context manager, which holds its lock.
    """

    def __init__(
        self,
        final: Path,
        stage: str,
        fingerprint: str,
        *,
        inputs: Mapping[str, str] | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        self.final = final
        self.path = _staging(final)
        self.stage, self.fingerprint = stage, fingerprint
        self.inputs, self.recipe = dict(inputs or {}), dict(recipe or {})
        self.fresh = False
        """Whether `finish` was called, and all files were written and read back by this process."""
        self._ledger = _ledger(final)
        self._files: dict[str, FileFacts] = {}
        self._resumed = False

    @contextlib.contextmanager
    def open(self) -> Iterator[Staging]:
        """Create the staging directory, or resume an existing one. Raises InUseError if another process holds it.

        A directory that is still empty at the end, as after a download that failed at once, is removed.
        """
        self.final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = Lock.acquire(self.final.with_name(f".{self.final.name}.lock"))
        if lock is None:
            raise InUseError("another run is making it at this moment", where=str(self.final), todo="wait for that run")
        with lock:
            self.path.mkdir(exist_ok=True, mode=0o700)
            sweep(self.path)
            self._files = self._recover()
            self._resumed = bool(self._files)
            try:
                yield self
            finally:
                with contextlib.suppress(OSError):  # it is not empty, or has its final name
                    self.path.rmdir()

    def _recover(self) -> dict[str, FileFacts]:
        """Files published by an earlier attempt that still exist; deletes all others, except `UNFINISHED` ones."""
        try:
            listed = read_json(self._ledger, dict[str, FileFacts])
        except (OSError, ParseError):
            listed = {}
        good = {
            name: facts
            for name, facts in listed.items()
            if (self.path / name).is_file() and (self.path / name).stat().st_size == facts.bytes
        }
        for left in self.path.iterdir():
            if left.name not in good and left != self._ledger and not left.name.startswith(UNFINISHED):
                left.unlink()
        return good

    @property
    def published(self) -> dict[str, FileFacts]:
        """The complete files by name, including those of an earlier attempt."""
        return dict(self._files)

    def publish(self, name: str, write: Callable[[Path], object], facts: Facts | None = None) -> FileFacts:
        """Write the file `name` by calling `write`, and add it to the artifact atomically."""
        with replacing(self.path / name) as staged:
            write(staged)
            entry = FileFacts(bytes=staged.stat().st_size, sha256=sha256(staged), facts=facts or {})
        self._files[name] = entry
        write_atomic(self._ledger, msgspec.json.encode(self._files))
        return entry

    def discard(self, *names: str) -> None:
        """Remove files from the artifact, such as intermediate ones."""
        for name in names:
            self._files.pop(name, None)
        write_atomic(self._ledger, msgspec.json.encode(self._files))
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def finish(self, facts: Facts | None = None) -> Artifact:
        """Write the manifest and rename the directory to its final name, replacing an existing one."""
        manifest = Manifest(
            stage=self.stage,
            fingerprint=self.fingerprint,
            inputs=self.inputs,
            recipe=self.recipe,
            facts=facts or {},
            files=self._files,
            made_at=time.time(),
        )
        for left in self.path.glob(f"{UNFINISHED}*"):
            left.unlink()
        write_atomic(self.path / MANIFEST, seal(msgspec.json.encode(manifest)))
        self._ledger.unlink(missing_ok=True)
        remove_tree(self.final)
        self.path.rename(self.final)
        fsync_directory(self.final.parent)
        self.fresh = not self._resumed
        return Artifact(self.final, manifest)


def write_directory(
    final: Path,
    stage: str,
    fingerprint: str,
    write: Callable[[Path], object],
    *,
    inputs: Mapping[str, str] | None = None,
    recipe: Mapping[str, Any] | None = None,
    facts: Facts | None = None,
) -> Artifact:
    """Write an artifact at once, such as a checkpoint: `write` fills a directory, which is then renamed to `final`.

    After a crash, and the next `sweep`, the directory is either the old or the new one.
    """
    staged = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    remove_tree(staged)
    staged.mkdir(mode=0o700)
    try:
        write(staged)
        files = {}
        for file in sorted(staged.iterdir()):
            fsync_file(file)
            files[file.name] = FileFacts(bytes=file.stat().st_size, sha256=sha256(file))
        manifest = Manifest(
            stage=stage,
            fingerprint=fingerprint,
            inputs=dict(inputs or {}),
            recipe=dict(recipe or {}),
            facts=facts or {},
            files=files,
            made_at=time.time(),
        )
        write_atomic(staged / MANIFEST, seal(msgspec.json.encode(manifest)))
        replace_tree(staged, final)
    except BaseException:
        remove_tree(staged)
        raise
    fsync_directory(final.parent)
    return Artifact(final, manifest)
