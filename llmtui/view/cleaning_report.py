"""Statistics of cleaning a corpus, as tables."""

from __future__ import annotations

from core.events import CleaningReport, StepEffect
from llmtui.view.units import count, size

BAR = 30
"""Cells of the longest bar of a histogram."""

Rows = list[tuple[str, ...]]


def report_tables(report: CleaningReport) -> list[Rows]:
    """Size before and after, steps, document lengths and frequent lines, each with a row of headings. Not
    sanitised."""
    tables = [_extent(report), _steps(report)]
    if any(report.lengths):
        tables.append(_lengths(report))
    if report.lines:
        tables.append(_lines(report))
    return tables


def _extent(report: CleaningReport) -> Rows:
    rows: Rows = [("", "DOCUMENTS", "TEXT", "CHARACTERS")]
    for name, extent in (("read", report.before), ("clean", report.after)):
        rows.append((name, f"{extent.documents:,}", size(extent.bytes), f"{extent.characters:,}"))
    if report.split:
        for name, extent in (("training", report.train), ("validation", report.validation)):
            rows.append((name, f"{extent.documents:,}", size(extent.bytes), ""))
        if report.held_out_lines:
            leaked, lines = report.leaked_lines, report.held_out_lines
            sentence = f"{leaked:,} of {lines:,} long held-out lines are also in the training text"
            rows.append(("leakage", "", "", sentence))
    return rows


def _steps(report: CleaningReport) -> Rows:
    rows: Rows = [("STEP", "CHANGED", "REMOVED", "BYTES")]
    rows += [(step.step, f"{step.changed:,}", f"{step.removed:,}", byte_change(step)) for step in report.steps]
    return rows


def byte_change(step: StepEffect) -> str:
    """By how many bytes the text became shorter (`−1,204`) or longer (`+7`)."""
    return f"{'−' if step.bytes > 0 else '+'}{abs(step.bytes):,}" if step.bytes else "0"


def _lengths(report: CleaningReport) -> Rows:
    rows: Rows = [("CHARACTERS", "DOCUMENTS", "")]
    filled = [power for power, documents in enumerate(report.lengths) if documents]
    largest = max(report.lengths)
    for power in range(filled[0], filled[-1] + 1):
        documents = report.lengths[power]
        cells = round(BAR * documents / largest)
        bar = "█" * cells or ("▏" if documents else "")
        rows.append((f"from {count(2**power)}", f"{documents:,}", bar))
    return rows


def _lines(report: CleaningReport) -> Rows:
    rows: Rows = [("TIMES", f"MOST FREQUENT LINES, in a sample of {size(report.sampled)}")]
    return [*rows, *((f"{line.count:,}", line.line) for line in report.lines)]
