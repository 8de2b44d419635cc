"""What a command was asked to work on: the recipe that a file, a source, a preset and overrides make together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from core.errors import UsageError
from core.init.resolve import Resolver
from core.recipe.file import load, read_toml
from core.recipe.schema import Recipe
from core.sources.catalog import absolute, resolve_corpus, source_name
from core.storage.workspace import Workspace, check_name, name_from
from llmtui.cli.console import say
from llmtui.clients.license_consent import agree, to_agree
from llmtui.view.units import size


class LicenseNotAcceptedError(UsageError):
    doing = "take this corpus"


def resolve(what: str, preset: str | None, overrides: Sequence[str], name: str | None = None) -> Recipe:
    """The recipe for `what`: a file that ends in .toml, or a source."""
    named = {"name": check_name(name)} if name is not None else {}
    if what.endswith(".toml"):
        return from_file(Path(what), preset, overrides, named)
    base = {"name": source_name(what), "source": {"corpus": what}} | named
    return load_recipe(preset=preset, base=base, overrides=overrides)


def from_file(file: Path, preset: str | None, overrides: Sequence[str], base: dict[str, Any] | None = None) -> Recipe:
    """The recipe in `file`; a relative corpus in it is meant from where the file is."""
    tables = read_toml(file)
    base = dict(base or {})
    source = tables.get("source")
    corpus = source.get("corpus") if isinstance(source, dict) else None
    if isinstance(corpus, str) and corpus:
        corpus = absolute(corpus, file.absolute().parent)
        base["source"] = {"corpus": corpus}
    if "name" not in tables:
        fallback = source_name(corpus) if isinstance(corpus, str) and corpus else "untitled"
        base = {"name": name_from(file.stem, fallback)} | base
    return load_recipe(preset=preset, file=file, base=base, overrides=overrides)


def load_recipe(
    *,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    base: dict[str, Any] | None = None,
) -> Recipe:
    """`core.recipe.file.load` with initial weights resolved, and notes about renamed fields on standard error."""
    resolver = Resolver(Workspace())
    return load(preset=preset, file=file, overrides=overrides, base=base, init=resolver, note=say)


def placed(recipe: Recipe) -> Recipe:
    """The same recipe for processes that work in another directory."""
    source = msgspec.structs.replace(recipe.source, corpus=resolve_corpus(recipe.source.corpus))
    return msgspec.structs.replace(recipe, source=source)


def ensure_agreed(workspace: Workspace, recipe: Recipe, yes: bool) -> None:
    """Show the notice of the recipe's corpus once and ask.

    Raises LicenseNotAcceptedError where the answer is no or nobody can.
    """
    corpus = to_agree(workspace, recipe)
    if corpus is None:
        return
    say(f"{corpus.name}: {corpus.about} {size(corpus.bytes)} of text, licence: {corpus.licence}.\n{corpus.notice}")
    if not yes:
        if not sys.stdin.isatty():
            raise LicenseNotAcceptedError(
                "nobody can be asked here", where=corpus.name, todo="repeat it with --yes to agree"
            )
        click.confirm("Do you agree?", abort=True, err=True)
    agree(workspace, corpus)
