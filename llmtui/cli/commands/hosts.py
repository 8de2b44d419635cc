"""`llmtui hosts`: other machines whose runs appear in this one's lists."""

from __future__ import annotations

import os
import shlex
import sys
import time

import click

from core import __version__
from core.remote.hosts import SSH, HostFile, MirroredHost, all_hosts
from core.remote.messages import MirrorProtocolError
from core.runs.control import fetched_checkpoint
from core.runs.launch import child_environment, python_command
from core.runs.lookup import find_run
from core.storage.workspace import Workspace
from llmtui.cli.commands.group import SuggestingGroup
from llmtui.cli.commands.options import NAME, complete_run
from llmtui.cli.console import print_error, print_json, print_message, print_output, print_table
from llmtui.clients.remote_inference import GREETING
from llmtui.view.host_text import HEADINGS, HostStatus, host_lines, host_row, host_status

PATIENCE = 60.0
"""Seconds to wait for a connection."""

host_argument = click.argument("name", type=NAME, metavar="HOST")


@click.group(cls=SuggestingGroup, invoke_without_command=True, short_help="Follow the runs of other machines over ssh.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def hosts(context: click.Context, as_json: bool) -> None:
    """Follow the runs of other machines over ssh; without a command, list the hosts with their load.

    The runs of a connected host appear in every list and screen, with charts, events and logs. Stopping, pausing and
    resuming them reaches the host; their checkpoints are fetched on demand. Nothing runs on the host but what ssh
    starts: no port, no daemon.
    """
    if context.invoked_subcommand is not None:
        return
    known = [host_status(host) for host in all_hosts(Workspace())]
    if as_json:
        print_json([_record(status) for status in known])
    elif known:
        print_table([HEADINGS, *map(host_row, known)])
    else:
        print_message("there are no hosts; llmtui hosts add ADDRESS adds one")


def _record(status: HostStatus) -> dict[str, object]:
    host, connection = status.host, status.connection
    return {
        "name": host.name,
        "address": host.file.address,
        "connected": status.is_connected,
        "since": connection.since,
        "why": connection.why,
        "machine": connection.machine,
        "version": connection.version,
        "active": connection.active,
        "reading": connection.reading if status.is_connected else None,
    }


@hosts.command("add", short_help="Add a host and connect to it.")
@click.argument("address", type=NAME, metavar="ADDRESS")
@click.option("--name", type=NAME, help="What to call it; default: the first part of its name.")
@click.option("--command", type=NAME, default="llmtui", show_default=True, help="Shell command of llmtui there.")
@click.option("--ssh", "ssh_command", type=NAME, help=f"Command that connects; default: {shlex.join(SSH)}.")
def add_host(address: str, name: str | None, command: str, ssh_command: str | None) -> int:
    """Add the host that `ssh ADDRESS` reaches, and connect to it.

    It needs llmtui there, and a key: ssh must not ask for a password.
    """
    workspace = Workspace().prepare()
    name = name or address.rpartition("@")[2].partition(".")[0].lower()
    ssh = tuple(shlex.split(ssh_command)) if ssh_command else SSH
    host = MirroredHost.create(workspace, name, HostFile(address=address, command=command, ssh=ssh))
    return _connect(host, workspace)


@hosts.command("connect", short_help="Connect to a host again.")
@host_argument
def connect_host(name: str) -> int:
    """Connect to HOST. The connection is kept, and made again when it is lost, until `llmtui hosts disconnect`."""
    workspace = Workspace().prepare()
    return _connect(MirroredHost.find(workspace, name), workspace)


def _connect(host: MirroredHost, workspace: Workspace) -> int:
    """Start the mirror and wait until it is connected; returns the exit code."""
    host.start(workspace)
    deadline = time.monotonic() + PATIENCE
    connection = host.connection()
    while time.monotonic() < deadline and host.is_mirrored:
        connection = host.connection()
        if connection.reading is not None:
            print_message("\n".join(host_lines(host_status(host))))
            return 0
        if not connection.connected and connection.why not in ("", "connecting"):
            break
        time.sleep(0.05)
    print_error(f"cannot connect to {host.name}: {connection.why or 'it does not answer'}")
    print_message(f"it is tried again; llmtui hosts disconnect {host.name} ends that, llmtui hosts rm forgets the host")
    return 1


@hosts.command("disconnect", short_help="End the connection to a host.")
@host_argument
def disconnect_host(name: str) -> int:
    """End the connection to HOST. Its runs continue there; their mirrors stay, without news."""
    host = MirroredHost.find(Workspace(), name)
    if not host.is_mirrored:
        print_message(f"{name} is not connected")
        return 0
    if not host.stop():
        print_error(f"the mirror of {name} has not ended; its log: {host.log}")
        return 1
    print_message(f"{name} is disconnected")
    return 0


@hosts.command("show", short_help="Show a host and its connection.")
@host_argument
def show_host(name: str) -> None:
    """Show the connection to HOST, its load, and where the log of the connection is."""
    for line in host_lines(host_status(MirroredHost.find(Workspace(), name))):
        print_output(line)


@hosts.command("rm", short_help="Forget a host.")
@host_argument
def remove_host(name: str) -> int:
    """End the connection to HOST and forget it. Mirrors of its runs stay; `llmtui rm RUN` deletes one, here only."""
    host = MirroredHost.find(Workspace(), name)
    if host.is_mirrored and not host.stop():
        print_error(f"the mirror of {name} has not ended; its log: {host.log}")
        return 1
    host.remove()
    print_message(f"{name} is forgotten")
    return 0


@hosts.command("fetch", short_help="Copy a checkpoint of a host's run to this machine.")
@click.argument("which", type=NAME, metavar="RUN[@STEP|@best|@last]", shell_complete=complete_run)
def fetch(which: str) -> int:
    """Copy a checkpoint of RUN, by default the newest, from its host: to chat with it, to sample, export or branch."""
    name, _, checkpoint = which.partition("@")
    workspace = Workspace()
    run = find_run(workspace, name)
    if not run.host:
        print_message(f"{run.id} is a run of this machine")
        return 0
    print_output(str(fetched_checkpoint(run, checkpoint or "last")))
    return 0


@hosts.command("serve", hidden=True)
def serve() -> int:
    """The side of a connection that ssh starts on the host. Not for people: its input and output are messages."""
    from core.remote.host import Host

    try:
        Host(Workspace().prepare_for_reading(), sys.stdin.buffer, sys.stdout.buffer).serve()
    except MirrorProtocolError as error:
        print_error(f"llmtui hosts serve is started by `llmtui hosts add`, elsewhere: {error}")
        return 2
    return 0


@hosts.command("infer", hidden=True)
def infer() -> None:
    """The inference process for checkpoints of this machine's runs, which ssh starts for a mirror. Not for people."""
    workspace = Workspace().prepare_for_reading()
    print_output(f"{GREETING.decode()}{__version__}")
    sys.stdout.flush()
    os.chdir(workspace.runs)  # paths of checkpoints are relative to it
    command = python_command("core.sample.serve")
    os.execve(command[0], command, child_environment(workspace))
