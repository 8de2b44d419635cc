"""Shards that other machines made in parts: taken over when they are what would be made here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

from core.events import Event
from core.processes.progress import ProgressMeter
from core.storage.artifact import Artifact, DamagedError, Staging
from core.storage.files import sha256


def part_name(final: Path, part: tuple[int, int]) -> Path:
    """Where the artifact of a part of `final` lies: `tiny-0123456789abcdef.part-2-of-4` beside it."""
    return final.with_name(f"{final.name}.part-{part[0]}-of-{part[1]}")


def part_artifacts(out: Staging) -> list[Artifact]:
    """The complete artifacts of parts beside `out`, made from the same text in the same way."""
    found = []
    for path in sorted(out.final.parent.glob(f"{_literal(out.final.name)}.part-*-of-*")):
        if path.suffix == ".partial":
            continue
        try:
            artifact = Artifact.open(path)
        except DamagedError:
            continue
        if artifact.fingerprint == out.fingerprint:
            found.append(artifact)
    return found


def adopt_vocabulary(others: Sequence[Artifact], out: Staging, name: str) -> None:
    """Publish the vocabulary file of the first of the parts, when `out` has none."""
    for other in others:
        if name not in out.published and name in other.manifest.files:
            _adopt(other, out, name)


def adopt_shards(
    others: Sequence[Artifact], out: Staging, wanted: Sequence[str], file: str, meter: ProgressMeter
) -> Generator[Event, None, int]:
    """Publish those of the shards `wanted` that `out` lacks and a part has; how many.

    file: the vocabulary's, with which a part must have been encoded too.
    """
    adopted = 0
    for other in others:
        if file in other.manifest.files and other.manifest.files[file].sha256 == out.published[file].sha256:
            for name in wanted:
                if name not in out.published and name in other.manifest.files:
                    adopted += _adopt(other, out, name)
                    yield meter.report()
    return adopted


def _adopt(other: Artifact, out: Staging, name: str) -> bool:
    """Publish a file of another artifact by a hard link or a copy, unless it has changed since it was written."""
    facts, source = other.manifest.files[name], other.path / name
    if sha256(source) != facts.sha256:
        return False
    out.publish(name, lambda staged: _link(source, staged), facts.facts)
    return True


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _literal(name: str) -> str:
    """A pattern that fits `name` alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
