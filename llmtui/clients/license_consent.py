"""Consent to the licence notice of a corpus, asked once per user and remembered."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from core.errors import DiskError
from core.parsing import ParseError, read_json
from core.recipe.schema import Recipe
from core.sources.corpora import Corpus, known_corpus
from core.storage.files import write_atomic
from core.storage.workspace import Workspace
from llmtui.view.units import size


class LicenseNotice(NamedTuple):
    """A notice that the user has to accept before the corpus is downloaded."""

    corpus: Corpus
    workspace: Workspace

    @property
    def text(self) -> str:
        """The notice, with the name, size and licence of the corpus."""
        corpus = self.corpus
        about = f"{corpus.about} {size(corpus.bytes)} of text, licence: {corpus.licence}."
        return f"{corpus.name}: {about}\n\n{corpus.notice}"

    def accept(self) -> None:
        """Remember that the user has accepted it. Raises DiskError."""
        file = self.workspace.state / "agreed.json"
        try:
            write_atomic(file, msgspec.json.encode([*_accepted(self.workspace), self.corpus.name]))
        except OSError as error:
            raise DiskError.from_oserror(error, file, kept="nothing was started") from None


def required_notice(workspace: Workspace, recipe: Recipe) -> LicenseNotice | None:
    """The notice of the recipe's corpus; None if it has none or the user has accepted it."""
    corpus = known_corpus(recipe.source.corpus)
    if corpus and corpus.notice and corpus.name not in _accepted(workspace):
        return LicenseNotice(corpus, workspace)
    return None


def _accepted(workspace: Workspace) -> list[str]:
    """Names of the corpora whose notices the user has accepted."""
    try:
        return read_json(workspace.state / "agreed.json", list[str])
    except (OSError, ParseError):
        return []
