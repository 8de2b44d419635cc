"""The vocabularies on this machine: those of token shards, and the published ones whose files are here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.storage.artifact import Artifact, DamagedError
from core.storage.workspace import Workspace
from core.vocab.known import FILES_OF, find_file
from core.vocab.protocol import VocabularyChoice


def own_vocabulary(tokens: Path, name: str) -> VocabularyChoice:
    """The vocabulary of the token shards in `tokens`. name: the name to show."""
    return VocabularyChoice(name=name, file=str(tokens / "vocabulary.json"))


def available_vocabularies(workspace: Workspace) -> Iterator[VocabularyChoice]:
    """The vocabularies of all token shards, newest first, then bytes, then tiktoken's encodings, without those whose
    file would have to be downloaded."""
    yield from _vocabularies_of_shards(workspace)
    yield VocabularyChoice(name="bytes")
    for name in FILES_OF:
        if find_file(name, workspace) is not None:
            yield VocabularyChoice(name=name)


def _vocabularies_of_shards(workspace: Workspace) -> Iterator[VocabularyChoice]:
    found: dict[str, tuple[float, VocabularyChoice]] = {}
    folder = workspace.artifacts / "tokens"
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            manifest = Artifact.open(path).manifest
        except DamagedError:  # unfinished ones, too
            continue
        file = manifest.files.get("vocabulary.json")
        kind, size = manifest.facts.get("vocabulary", ""), manifest.facts.get("vocabulary_size", 0)
        name = f"{path.name.rpartition('-')[0]} · {kind} {size:,}" if isinstance(size, int) else path.name
        # the same vocabulary may have encoded several texts
        if file and (file.sha256 not in found or found[file.sha256][0] < manifest.made_at):
            found[file.sha256] = manifest.made_at, own_vocabulary(path, name)
    yield from (choice for _, choice in sorted(found.values(), key=lambda entry: -entry[0]))
