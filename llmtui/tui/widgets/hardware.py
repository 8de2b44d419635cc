"""Utilisation of the machine: the GPU if there is one, processor and memory."""

from __future__ import annotations

import time

from core.events import Gpu, HardwareReading
from core.plural import plural
from llmtui.tui.widgets.panels import RunPane
from llmtui.view import units
from llmtui.view.lines import Line, bar, fits, joined, sparkline
from llmtui.view.sanitize import shown

STALE_AFTER = 30.0
"""Seconds after which a reading is no longer shown as current: a new one comes every 2 s."""

SHORT_OF_DISK = 10**9
"""Free bytes below which the figure is a warning: a few checkpoints fill it."""


class HardwarePane(RunPane):
    """The last reading of GPU, processor and memory."""

    def heading(self, width: int) -> Line:
        reading = self.summary.reading
        ended = self.snapshot is None or not self.snapshot.state.is_active
        age = [(f"  {self._age(reading)}", "dim" if ended else "warn")] if reading and self._age(reading) else []
        name, detail = "machine", shown(self.summary.device, 60)
        if reading and reading.gpus:
            more = f" of {len(reading.gpus)}" if len(reading.gpus) > 1 else ""
            name, detail = f"gpu 0{more}", shown(reading.gpus[0].name, 40)
        line: Line = [(name, "title"), *age, (f"  {detail}" if detail else "", "dim")]
        return line if not age or fits(line, width) else line[:-1]

    def _age(self, reading: HardwareReading) -> str:
        """Since when the reading is outdated, in words; empty while it is current."""
        alive = self.snapshot is not None and self.snapshot.state.is_active
        if alive and time.time() - reading.at < STALE_AFTER:
            return ""
        return f"as of {units.clock(reading.at)}" if alive else f"ended, {units.clock(reading.at)}"

    def lines(self, width: int, height: int) -> list[Line]:
        reading = self.summary.reading
        if reading is None:
            return [[("no reading yet", "dim")]]
        lines = self._meters(reading, width, height)
        lines += self._past(reading, width)[: max(0, height - len(lines))]
        return [[("".join(text for text, _ in line), "dim")] for line in lines] if self._age(reading) else lines

    def _past(self, reading: HardwareReading, width: int) -> list[Line]:
        """The newest utilisation and memory of the GPUs, or of the machine, with their ranges; none before there are
        two values."""
        if self.history is None:
            return []
        gibibytes = (sum(gpu.memory_total for gpu in reading.gpus) or reading.ram_total) / 2**30
        curves = self.history.curves
        lines: list[Line] = []
        for name, series, factor, unit in (
            ("util" if reading.gpus else "cpu", curves.utilisation, 100.0, "%"),
            ("mem" if reading.gpus else "ram", curves.memory, gibibytes, "GiB"),
        ):
            shares = [share for _, share in series.means(-max(8, width - 27))]
            if len(shares) > 1:
                digits = 0 if unit == "%" or gibibytes >= 100 else 1
                low, high = (f"{factor * share:.{digits}f}" for share in (min(shares), max(shares)))
                span = f"{low} {unit}" if low == high else f"{low} to {high} {unit}"
                lines.append([(f"past {name:<5}", "dim"), (sparkline(shares), "bar"), (f" {span:>16}", "")])
        return lines

    def _meters(self, reading: HardwareReading, width: int, height: int) -> list[Line]:
        cores = f"{reading.cpu * reading.cores:.1f}/{plural(reading.cores, 'core')}"
        ram = f"{reading.ram / 2**30:.1f}/{reading.ram_total / 2**30:.1f} GiB"
        processor = _meter("cpu", reading.cpu, cores, width)
        memory = _meter("ram", reading.ram / max(1, reading.ram_total), ram, width)
        worker: Line = [("worker ", "dim"), (units.size(reading.process_ram), "")]
        disk = "warn" if reading.disk_free < SHORT_OF_DISK else ""
        free: Line = [("disk ", "dim"), (f"{units.size(reading.disk_free)} free", disk)]
        own: Line = [("worker uses ", "dim"), (f"{reading.process_cpu:.1f} cores", "")]
        rest = joined([worker, free, own], width)
        if not reading.gpus:
            return [processor, memory, rest]
        lines = [line for gpu in reading.gpus[:1] for line in _gpu(gpu, width)]
        for number, gpu in enumerate(reading.gpus[1 : max(1, height - 6) + 1], 1):
            used = f"{gpu.memory / 2**30:.1f}/{gpu.memory_total / 2**30:.0f} GiB"
            lines.append(_meter(f"gpu{number}", gpu.utilisation, used, width))
        return [*lines, processor, memory, rest]


def _gpu(gpu: Gpu, width: int) -> list[Line]:
    used = f"{gpu.memory / 2**30:.1f}/{gpu.memory_total / 2**30:.0f} GiB"
    lines = [
        _meter("util", gpu.utilisation, f"{100 * gpu.utilisation:.0f} %", width),
        _meter("mem", gpu.memory / max(1, gpu.memory_total), used, width),
    ]
    facts = [f"{gpu.watts:.0f} W"] if gpu.watts is not None else []
    facts += [f"{gpu.celsius:.0f} °C"] if gpu.celsius is not None else []
    return [*lines, [("     " + "  ".join(facts), "")]] if facts else lines


def _meter(name: str, share: float, text: str, width: int) -> Line:
    """A bar and its figure, which is right-aligned; no bar if only the figure fits."""
    figure = max(14, len(text))
    cells = width - 5 - figure - 1
    head: Line = [(f"{name:<5}", "dim")]
    return [*head, *(bar(share, cells) if cells >= 6 else []), (f" {text:>{figure}}", "")]
