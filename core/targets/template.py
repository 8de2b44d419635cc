"""Templates of targets: how torchrun, or a part of a data preparation, is started on other machines, as TOML.

Shipped ones are beside this file; one's own are in `targets/NAME.toml` in the config directory, and may extend another.
Texts may contain `{name}` for the fields of `Values`; `{{` stands for a brace.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from core.errors import UsageError, did_you_mean
from core.parsing import ParseError, read_toml
from core.storage.workspace import Workspace

SHIPPED: Final = Path(__file__).parent / "templates"
LOCAL: Final = "local"

_HOST = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.:@%\]\[-]*")
"""A host as ssh takes it. It cannot begin with a dash, which would make it an option."""


class TargetError(UsageError):
    """A target that is unknown, invalid or cannot be used."""

    doing = "use the target"


class Template(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How commands are started; all texts but `description` are templates."""

    description: str
    argument: Literal["none", "hosts", "partition", "cluster"] = "none"
    """What follows the colon of a target: hosts separated by commas, or a name."""
    start: Literal["node", "job"] = "job"
    """Whether `command` is started once for each node, or once for all."""
    command: tuple[str, ...]
    """A program and its arguments, started here; it ends when the training does."""
    node_rank: str = "0"
    """Number of a node, or an expression for the shell on that node."""
    rendezvous: str = "127.0.0.1"
    """Name or address of node 0, for the others, or such an expression."""
    script: str = ""
    """A file that is written into the run directory first: {script_file}."""
    options: tuple[str, ...] = ()
    """Further options of sbatch."""
    part_options: tuple[str, ...] | None = None
    """Those of the parts of `llmtui data prepare`, which need no GPUs; left out: `options`."""
    array: str = ""
    """An option that starts the script once for each of {parts}; empty: a command is started for each part."""
    part: str = ""
    """Number of a part in such an array, an expression for the shell there."""
    python: str = ""
    """The interpreter there that has llmtui; empty: at the same path as here."""
    environment: dict[str, str] = {}
    """Variables there, such as GLOO_SOCKET_IFNAME."""
    running: tuple[str, ...] = ()
    """A command that prints something while a job of the run exists."""
    cancel: tuple[str, ...] = ()
    """A command that ends the job of the run."""


class Target(Struct, frozen=True, kw_only=True):
    """A target as named by the user."""

    name: str
    """Of the template."""
    argument: str
    template: Template
    hosts: tuple[str, ...] = ()


class Values(Struct, frozen=True, kw_only=True):
    """What a template may contain. Those that are paths are quoted for a shell, except `script_file` and `log`."""

    id: str
    """Of the run."""
    run: str
    control: str
    log: str
    script_file: str
    nodes: int
    processes: int
    """On each node."""
    node: int
    host: str
    first_host: str
    argument: str
    options: str
    parts: str = ""
    """Numbers of the parts of a data preparation, separated by commas."""
    torchrun: str = ""
    """The command for the shell of a node, or of a part; in `script` quoted as one argument."""


def template_files(workspace: Workspace) -> dict[str, Path]:
    """The templates by name, one's own before shipped ones of the same name."""
    folders = (SHIPPED, workspace.config / "targets")
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.toml"))}


def find_target(text: str, workspace: Workspace) -> Target | None:
    """The target named by `text`, such as `ssh:a,b`; None for this machine. Raises TargetError."""
    name, colon, argument = text.partition(":")
    if name == LOCAL and not argument:
        return None
    files = template_files(workspace)
    if name not in files:
        raise TargetError(
            f"there is no target {name!r}",
            todo=did_you_mean(name, [LOCAL, *files]) or f"there are {', '.join([LOCAL, *files])}",
        )
    template = read_template(name, files)
    if template.argument == "none" and colon:
        raise TargetError(f"{name} takes nothing after a colon", where=text)
    if template.argument in ("hosts", "cluster") and not argument:
        raise TargetError(f"{template.argument} are missing after {name}:", where=text, todo=template.description)
    hosts = tuple(argument.split(",")) if template.argument == "hosts" else ()
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise TargetError(f"{host!r} is not the name or address of a host", where=text)
    if template.argument in ("partition", "cluster") and argument and not re.fullmatch(r"[\w.-]+", argument):
        raise TargetError(f"{argument!r} is not the name of a {template.argument}", where=text)
    return Target(name=name, argument=argument, template=template, hosts=hosts)


def read_template(name: str, files: dict[str, Path]) -> Template:
    """The template `name`, merged with those that it extends. Raises TargetError."""
    merged: dict[str, Any] = {}
    seen: list[str] = []
    extends: str | None = name
    while extends is not None:
        if extends in seen or extends not in files:
            why = "extends itself" if extends in seen else "does not exist"
            raise TargetError(f"it extends {extends!r}, which {why}", where=str(files[name]))
        seen.append(extends)
        try:
            tables = read_toml(files[extends])
        except (OSError, ParseError) as error:
            raise TargetError(f"its file cannot be read: {error}", where=str(files[extends])) from None
        merged = tables | merged
        extends = tables.get("extends")
        shipped = SHIPPED / f"{name}.toml"
        if extends == name and seen == [name] and shipped.exists():  # one's own file of a shipped name
            files, seen = files | {name: shipped}, []
    merged.pop("extends", None)
    try:
        return msgspec.convert(merged, Template)
    except msgspec.ValidationError as error:
        raise TargetError(str(error), where=str(files[name])) from None


def filled(text: str, values: Values, where: str) -> str:
    """`text` with its fields. Raises TargetError for an unknown one."""
    try:
        return text.format_map(msgspec.structs.asdict(values))
    except (KeyError, ValueError, IndexError) as error:
        raise TargetError(f"its template has an invalid field: {error}", where=where) from None


def shell_command(module: str, *arguments: str, python: str = "") -> str:
    """`module` in an interpreter of llmtui, as a command for a shell."""
    return shlex.join([python or sys.executable, "-P", "-m", module, *arguments])
