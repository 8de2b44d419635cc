"""Hosts whose runs are mirrored, as text: the connection, and the load of the machine."""

from __future__ import annotations

from core.remote.hosts import Connection, MirroredHost
from llmtui.view import units
from llmtui.view.sanitize import shown

CLOCK_TOLERANCE = 5.0
"""Seconds two clocks may differ before it is said."""

HEADINGS = ("host", "connection", "runs", "processor", "memory free", "GPUs", "disk free")


def connection_text(connection: Connection, *, mirrored: bool) -> str:
    """Whether the host is connected, or why not; sanitised."""
    if not mirrored:
        return "not connected"
    since = f"since {units.clock(connection.since)}" if connection.since else ""
    if connection.connected:
        return f"connected {since}"
    why = shown(connection.why, 300)
    return f"no connection {since}: {why}" if why else "connecting"


def host_row(host: MirroredHost) -> tuple[str, ...]:
    """The cells of a host under `HEADINGS`."""
    connection, mirrored = host.connection(), host.is_mirrored
    reading = connection.reading if mirrored and connection.connected else None
    state = connection_text(connection, mirrored=mirrored)
    if reading is None:
        return (host.name, state, "", "", "", "", "")
    gpus = [f"{100 * gpu.utilisation:.0f} %, {units.size(gpu.memory_total - gpu.memory)} free" for gpu in reading.gpus]
    return (
        host.name,
        state,
        f"{connection.active} active",
        f"{100 * reading.cpu:.0f} % of {reading.cores} cores",
        f"{units.size(reading.ram_total - reading.ram)} of {units.size(reading.ram_total)}",
        "; ".join(gpus) or "none",
        units.size(reading.disk_free),
    )


def host_lines(host: MirroredHost) -> list[str]:
    """All that is known about a host, a line each; sanitised."""
    connection, mirrored = host.connection(), host.is_mirrored
    lines = [
        f"{host.name}: {shown(host.file.address, 200)}, command {shown(host.file.command, 200)}",
        connection_text(connection, mirrored=mirrored),
    ]
    if connection.machine:
        lines.append(f"{shown(connection.machine, 200)}; llmtui {shown(connection.version, 40)}")
    if abs(connection.clock) > CLOCK_TOLERANCE:
        side = "ahead of" if connection.clock > 0 else "behind"
        lines.append(f"its clock is {units.duration(abs(connection.clock))} {side} this one: times of its runs are its")
    if connection.connected and connection.reading and mirrored:
        names = dict(zip(HEADINGS, host_row(host), strict=True))
        lines += [f"{name}: {names[name]}" for name in HEADINGS[2:]]
    lines.append(f"its log: {host.log}; a command there: {shown(host.shell_command('ls'), 300)}")
    return lines
