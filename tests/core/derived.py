"""What a grammar tells, worked out step by step from its rules: a second opinion on how texts are drawn."""

from __future__ import annotations

from core.download.grammar import Grammar, Line, Pick, Slot, Values


def decoded(grammar: Grammar, draws: bytes) -> tuple[str, int]:
    """The text that `draws` stand for and the bits it took, choice by choice."""
    left, values, bits = list(draws), dict[str, Line](), 0

    def text(line: Line) -> str:
        return "".join(step if isinstance(step, str) else said(step) for step in line.steps)

    def said(step: Slot | Pick) -> str:
        nonlocal bits
        if isinstance(step, Slot):
            return values[step.variable].forms[step.form]
        byte, start = left.pop(0), 0
        for line in grammar.lines(step, values):
            start += 256 >> line.bits
            if byte < start:
                break
        bits += line.bits
        if step.name:
            values[step.name] = line
        return text(line)

    return said(Pick(grammar.start, None, "")), bits


def everything(grammar: Grammar) -> list[tuple[str, int]]:
    """Each text and its bits, derivation by derivation."""
    found = []

    def go_on(text: str, bits: int, steps: tuple[object, ...], values: Values) -> None:
        if not steps:
            found.append((text, bits))
            return
        step, *rest = steps
        if isinstance(step, Pick):
            for line in grammar.lines(step, values):
                known = {**values, step.name: line} if step.name else values
                go_on(text, bits + line.bits, (*line.steps, *rest), known)
        else:
            piece = values[step.variable].forms[step.form] if isinstance(step, Slot) else str(step)
            go_on(text + piece, bits, tuple(rest), values)

    go_on("", 0, (Pick(grammar.start, None, ""),), {})
    return found
