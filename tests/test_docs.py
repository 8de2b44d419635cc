"""The documents name files, directories, modules and commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from llmtui.cli.commands import command_line

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TOP = "core|llmtui|tests|themes|benchmarks|docs"


def in_backticks(pattern: str) -> list[tuple[str, str]]:
    """(document, match) of each text in backticks that begins with `pattern`, without repetitions."""
    found = {
        (document.relative_to(ROOT).as_posix(), match)
        for document in DOCUMENTS
        for match in re.findall(rf"`({pattern})[^`]*`", document.read_text("utf-8"))
    }
    return sorted(found)


def resolves(dotted: str) -> bool:
    """Whether `dotted` is a package, a module, or begins with a name that is defined in one. Imports nothing."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            if length == len(parts):
                return True
            pattern = rf"^(?:\s*(?:def|class) )?{parts[length]}\b"
            return re.search(pattern, file.read_text("utf-8"), re.MULTILINE) is not None
    return False


def module_paths(tree: str) -> list[str]:
    """The Python files in the tree of packages in docs/architecture.md, with their directories.

    A line begins with one or more names. A directory contains the files in the lines that are indented more.
    """
    paths: list[str] = []
    parents: list[tuple[int, str]] = []  # indentation and path of the directories around the current line
    for line in tree.splitlines():
        indentation = len(line) - len(line.lstrip())
        names = re.match(r"\s*((?:[\w.]+(?:/|\.py)\s+)*)", line + " ")[1].split()  # type: ignore[index]
        while parents and indentation <= parents[-1][0]:
            parents.pop()
        parent = parents[-1][1] if parents else ""
        paths += [parent + name for name in names]
        if names and names[0].endswith("/"):
            parents.append((indentation, parent + names[0]))
    return paths


@pytest.mark.parametrize(("document", "path"), in_backticks(rf"(?:{TOP})/[\w/.-]*"))
def test_paths_in_backticks_exist(document: str, path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("document", "name"), in_backticks(r"(?:core|llmtui)\.[a-z]\w*(?:\.\w+)*"))
def test_dotted_names_in_backticks_are_modules_or_names_in_them(document: str, name: str) -> None:
    assert resolves(name)


def test_commands_in_backticks_exist() -> None:
    named = {command.removeprefix("llmtui ") for _, command in in_backticks("llmtui [a-z]+")}
    assert named - set(command_line.list_commands(click.Context(command_line))) == set()


def test_links_between_documents_lead_to_files() -> None:
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_the_architecture_lists_existing_files_and_every_module_of_core() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    tree = re.search(r"## Packages\n\n```\n(.*?)```", text, re.DOTALL)
    assert tree is not None
    named = module_paths(tree[1])
    assert [path for path in named if not (ROOT / path).exists()] == []
    described_as_directories = {ROOT / "core/sample/inspect", ROOT / "core/recipe/schema"}
    modules = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "core").rglob("*.py")
        if file.name != "__init__.py" and file.parent not in described_as_directories
    }
    assert modules - set(named) == set()
