"""Hosts whose runs are mirrored, as text: the connection, and the load of the machine."""

from __future__ import annotations

from typing import NamedTuple

from core.remote.hosts import Connection, MirroredHost
from llmtui.view import units
from llmtui.view.sanitize import shown

CLOCK_TOLERANCE = 5.0
"""Seconds two clocks may differ before it is said."""

HEADINGS = ("host", "connection", "runs", "processor", "memory free", "GPUs", "disk free")


class HostStatus(NamedTuple):
    """A host and its connection at one moment."""

    host: MirroredHost
    mirrored: bool
    """Whether a process mirrors it."""
    connection: Connection

    @property
    def is_connected(self) -> bool:
        return self.mirrored and self.connection.connected


def host_status(host: MirroredHost) -> HostStatus:
    """What is known of a host now; reads files."""
    return HostStatus(host, host.is_mirrored, host.connection())


def connection_text(status: HostStatus) -> str:
    """Whether the host is connected, or why not; sanitised."""
    connection = status.connection
    if not status.mirrored:
        return "not connected"
    since = f"since {units.clock(connection.since)}" if connection.since else ""
    if connection.connected:
        return f"connected {since}"
    why = shown(connection.why, 300)
    return f"no connection {since}: {why}" if why else "connecting"


def host_row(status: HostStatus) -> tuple[str, ...]:
    """The cells of a host under `HEADINGS`."""
    reading = status.connection.reading if status.is_connected else None
    start = status.host.name, connection_text(status)
    if reading is None:
        return (*start, "", "", "", "", "")
    gpus = [f"{100 * gpu.utilisation:.0f} %, {units.size(gpu.memory_total - gpu.memory)} free" for gpu in reading.gpus]
    return (
        *start,
        f"{status.connection.active} active",
        f"{100 * reading.cpu:.0f} % of {reading.cores} cores",
        f"{units.size(reading.ram_total - reading.ram)} of {units.size(reading.ram_total)}",
        "; ".join(gpus) or "none",
        units.size(reading.disk_free),
    )


def load_text(status: HostStatus) -> str:
    """The load of a connected host on one line; empty for others."""
    if not status.is_connected or status.connection.reading is None:
        return ""
    named = zip(HEADINGS[2:], host_row(status)[2:], strict=True)
    return " · ".join(value if heading == "runs" else f"{heading} {value}" for heading, value in named)


def host_lines(status: HostStatus) -> list[str]:
    """All that is known about a host, a line each; sanitised."""
    host, connection = status.host, status.connection
    lines = [
        f"{host.name}: {shown(host.file.address, 200)}, command {shown(host.file.command, 200)}",
        connection_text(status),
    ]
    if connection.machine:
        lines.append(f"{shown(connection.machine, 200)}; llmtui {shown(connection.version, 40)}")
    if abs(connection.clock) > CLOCK_TOLERANCE:
        side = "ahead of" if connection.clock > 0 else "behind"
        lines.append(f"its clock is {units.duration(abs(connection.clock))} {side} this one: times of its runs are its")
    if status.is_connected and connection.reading:
        named = zip(HEADINGS[2:], host_row(status)[2:], strict=True)
        lines += [f"{heading}: {value}" for heading, value in named]
    lines.append(f"its log: {host.log}; a command there: {shown(host.shell_command('ls'), 300)}")
    return lines
