"""Merges token shards that several machines made as parts of the same artifact."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

from core.events import Event
from core.processes.progress import ProgressMeter
from core.storage.artifact import Artifact, DamagedError, Staging
from core.storage.files import sha256

_PART = re.compile(r"\.part-\d+-of-\d+\Z")


def part_path(final: Path, part: tuple[int, int]) -> Path:
    """Path of the artifact of a part of `final`: `tiny-0123456789abcdef.part-2-of-4` beside it."""
    return final.with_name(f"{final.name}.part-{part[0]}-of-{part[1]}")


def part_artifacts(out: Staging) -> list[Artifact]:
    """The complete artifacts of parts beside `out`, itself the whole or a part, with the same fingerprint."""
    artifacts = []
    whole = _PART.sub("", out.final.name)
    for path in sorted(out.final.parent.glob(f"{_escape_glob(whole)}.part-*-of-*")):
        if path.suffix == ".partial":
            continue
        try:
            artifact = Artifact.open(path)
        except DamagedError:
            continue
        if artifact.fingerprint == out.fingerprint:
            artifacts.append(artifact)
    return artifacts


def reuse_vocabulary(others: Sequence[Artifact], out: Staging, name: str) -> None:
    """Publish the vocabulary file of the first part that has it, unless `out` has it."""
    for other in others:
        if name not in out.published and name in other.manifest.files:
            _publish_copy(other, out, name)


def reuse_shards(
    others: Sequence[Artifact], out: Staging, names: Sequence[str], file: str, meter: ProgressMeter
) -> Generator[Event, None, int]:
    """Publish the shards of `names` that `out` lacks and a part has; returns their number.

    file: name of the vocabulary file; parts with another vocabulary are ignored.
    """
    reused = 0
    for other in others:
        if file in other.manifest.files and other.manifest.files[file].sha256 == out.published[file].sha256:
            for name in names:
                if name not in out.published and name in other.manifest.files:
                    reused += _publish_copy(other, out, name)
                    yield meter.report()
    return reused


def _publish_copy(other: Artifact, out: Staging, name: str) -> bool:
    """Publish a file of another artifact by a hard link or a copy; False if its digest has changed."""
    facts, source = other.manifest.files[name], other.path / name
    if sha256(source) != facts.sha256:
        return False
    out.publish(name, lambda staged: _link_or_copy(source, staged), facts.facts)
    return True


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _escape_glob(name: str) -> str:
    """A glob pattern that matches only `name`."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
