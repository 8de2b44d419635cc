"""The RECIPE|SOURCE argument: a recipe from a file or source, a preset and overrides."""

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
from llmtui.cli.console import print_message
from llmtui.clients.license_consent import required_notice


class LicenseNotAcceptedError(UsageError):
    """The licence notice of a corpus was not accepted."""

    doing = "use this corpus"


def resolve(what: str, preset: str | None, overrides: Sequence[str], name: str | None = None) -> Recipe:
    """The recipe for `what`: a file whose name ends in .toml, or a source."""
    named = {"name": check_name(name)} if name is not None else {}
    if what.endswith(".toml"):
        return from_file(Path(what), preset, overrides, named)
    base = {"name": source_name(what), "source": {"corpus": what}} | named
    return load_recipe(preset=preset, base=base, overrides=overrides)


def from_file(file: Path, preset: str | None, overrides: Sequence[str], base: dict[str, Any] | None = None) -> Recipe:
    """The recipe in `file`; a relative path of a corpus is relative to the file's directory."""
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
    return load(preset=preset, file=file, overrides=overrides, base=base, init=resolver, note=print_message)


def with_absolute_source(recipe: Recipe) -> Recipe:
    """`recipe` with an absolute path as its source, for processes in another working directory."""
    source = msgspec.structs.replace(recipe.source, corpus=resolve_corpus(recipe.source.corpus))
    return msgspec.structs.replace(recipe, source=source)


def ensure_license_accepted(workspace: Workspace, recipe: Recipe, yes: bool) -> None:
    """Print the licence notice of the recipe's corpus, if it has one, and ask the user to accept it once.

    yes: accept it without asking. Raises LicenseNotAcceptedError if there is no terminal to ask on, and click.Abort
    if the answer is no.
    """
    notice = required_notice(workspace, recipe)
    if notice is None:
        return
    print_message(notice.text)
    if not yes:
        if not sys.stdin.isatty():
            raise LicenseNotAcceptedError(
                "the licence must be accepted, and standard input is not a terminal",
                where=notice.corpus.name,
                todo="repeat it with --yes to accept it",
            )
        click.confirm("Do you accept it?", abort=True, err=True)
    notice.accept()
