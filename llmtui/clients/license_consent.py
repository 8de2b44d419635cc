"""What a person has to agree to before a corpus is taken, asked once and remembered."""

from __future__ import annotations

import msgspec

from core.errors import DiskError
from core.parsing import ParseError, read_json
from core.recipe.schema import Recipe
from core.sources.corpora import Corpus, known
from core.storage.files import write_atomic
from core.storage.workspace import Workspace


def to_agree(workspace: Workspace, recipe: Recipe) -> Corpus | None:
    """The corpus of `recipe` when it has a notice that this user has not agreed to yet."""
    corpus = known(recipe.source.corpus)
    return corpus if corpus and corpus.notice and corpus.name not in _agreed(workspace) else None


def agree(workspace: Workspace, corpus: Corpus) -> None:
    """Remember that this user agreed. Raises DiskError."""
    file = workspace.state / "agreed.json"
    try:
        write_atomic(file, msgspec.json.encode([*_agreed(workspace), corpus.name]))
    except OSError as error:
        raise DiskError.from_oserror(error, file, kept="nothing was started") from None


def _agreed(workspace: Workspace) -> list[str]:
    try:
        return read_json(workspace.state / "agreed.json", list[str])
    except (OSError, ParseError):
        return []
