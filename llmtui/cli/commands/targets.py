"""`llmtui targets`: where runs can train, and whether a target can be used."""

from __future__ import annotations

import click
from msgspec.structs import asdict

from core.errors import LlmtuiError
from core.storage.workspace import Workspace
from core.targets.check import Finding, check_target
from core.targets.template import LOCAL, find_target, read_template, template_files
from llmtui.cli.commands.options import NAME, json_option
from llmtui.cli.console import print_json, print_output
from llmtui.view.sanitize import shown
from llmtui.view.table import table


@click.command(short_help="List the targets of `run --on`, or check one.")
@click.argument("target", type=NAME, metavar="[TARGET]", required=False)
@json_option
def targets(target: str | None, as_json: bool) -> int:
    """List the targets on which `llmtui run --on TARGET` can train, or check TARGET.

    A target is this machine (local), hosts reached by ssh (ssh:HOST,HOST), a partition of Slurm (slurm:PARTITION), or a
    template of your own: a file targets/NAME.toml in the config directory. Checked are hosts and keys, the version of
    llmtui there, clocks, GPUs and the shared data directory; with Slurm the partition. The exit code is 1 if something
    is wrong.
    """
    workspace = Workspace().prepare()
    if target is None:
        rows = list(_listed(workspace))
        if as_json:
            for name, description, file in rows:
                print_json({"target": name, "description": description, "file": file})
        else:
            print_output(table(rows))
        return 0
    found = find_target(target, workspace)
    results = list(check_target(found, workspace)) if found else [Finding(ok=True, about=LOCAL, what="this machine")]
    for result in results:
        if as_json:
            print_json(asdict(result))
            continue
        print_output(f"{'ok  ' if result.ok else 'FAIL'}  {shown(result.about)}: {shown(result.what)}")
        if result.todo:
            print_output(f"        {shown(result.todo)}")
    return 0 if all(result.ok for result in results) else 1


def _listed(workspace: Workspace) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(LOCAL, "this machine, in --processes N processes", "")]
    files = template_files(workspace)
    for name, file in files.items():
        try:
            description = read_template(name, files).description
        except LlmtuiError as error:
            description = f"invalid: {error.what}"
        rows.append((name, shown(description), str(file)))
    return rows
