"""Generates texts of a grammar from random bytes, and computes the bits of a given text independently."""

from __future__ import annotations

from typing import Any

from core.download.grammar import Grammar, Line, Pick, Slot, Values


class Teller:
    """Generates documents of a grammar, about 20 MB/s.

    Each choice takes one byte, which decodes to a line: a table of 256 names a line as often as its probability says.
    What variables say is filled in at the end, all at once.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.draws = grammar.most_picks
        """Maximum number of random bytes per document."""
        self._tables: dict[tuple[str, str], Any] = {}
        for pick in (Pick(grammar.start, None, ""), *grammar.picks()):
            for rule in grammar.rules_of(pick):
                if (rule, pick.name) not in self._tables:
                    told = [(self._steps(line), _said(pick.name, line)) for line in grammar.rules[rule]]
                    counts = [256 >> line.bits for line in grammar.rules[rule]]
                    self._tables[rule, pick.name] = [
                        entry for entry, count in zip(told, counts, strict=True) for _ in range(count)
                    ]
        self._first = grammar.start

    @staticmethod
    def _steps(line: Line) -> list[Any]:
        """Text with its slots as one template, and picks; neighbouring texts joined."""
        steps: list[Any] = []
        for step in line.steps:
            if isinstance(step, Pick):
                by = f"{step.by.variable}.{step.by.form}" if step.by else ""
                steps.append((step.rule, by, step.name))
                continue
            text = f"%({step.variable}.{step.form})s" if isinstance(step, Slot) else step.replace("%", "%%")
            if steps and isinstance(steps[-1], str):
                steps[-1] += text
            else:
                steps.append(text)
        return steps

    def tell(self, draws: bytes) -> str:
        """Decode random bytes to a document; surplus bytes are ignored."""
        values: dict[str, str] = {}
        pieces: list[str] = []
        draw = iter(draws).__next__
        tables, add = self._tables, pieces.append

        def expand(steps: list[Any]) -> None:
            for step in steps:
                if step.__class__ is str:
                    add(step)
                else:
                    rule, by, name = step
                    inner, said = tables[rule or values[by], name][draw()]
                    if name:
                        values.update(said)
                    expand(inner)

        expand(tables[self._first, ""][draw()][0])
        return "".join(pieces) % values


def _said(name: str, line: Line) -> dict[str, str]:
    return {f"{name}.{form}": value for form, value in line.forms.items()} if name else {}


Pending = tuple[Any, "Pending"] | None
"""A linked list of the steps that remain to be matched."""


def derivations(grammar: Grammar, text: str) -> list[int]:
    """The bits of every way in which the grammar can produce `text`, none when it cannot.

    Tries every line at every choice, so that it would also find a second way.
    """
    found: list[int] = []
    values: Values = {}
    open_ways: list[tuple[int, Pending, Values, int]] = [(0, (Pick(grammar.start, None, ""), None), values, 0)]
    while open_ways:
        at, pending, values, bits = open_ways.pop()
        if pending is None:
            if at == len(text):
                found.append(bits)
            continue
        step, behind = pending
        if isinstance(step, Pick):
            for line in grammar.lines(step, values):
                first = line.steps[0]
                if isinstance(first, str) and not text.startswith(first, at):
                    continue
                ahead = behind
                for inner in reversed(line.steps):
                    ahead = (inner, ahead)
                known = {**values, step.name: line} if step.name else values
                open_ways.append((at, ahead, known, bits + line.bits))
            continue
        said = values[step.variable].forms[step.form] if isinstance(step, Slot) else step
        if text.startswith(said, at):
            open_ways.append((at + len(said), behind, values, bits))
    return found
