"""Whether a grammar's texts can be read in one way only, decided from its rules."""

from __future__ import annotations

from itertools import combinations

from core.download.grammar import Grammar, Line, Pick, Slot, Step, Values

Steps = tuple[Step, ...]


def clashes(grammar: Grammar) -> list[str]:
    """The rules in which one line can produce a text that begins a text of another line, or is the same.

    When there are none, parsing is unique: from the left, at each choice in turn, one line at most can be the one, and
    its end is certain. Compares every pair of lines of every rule, letter by letter, through all that they can go on
    with and all that variables could be; a clash is reported even where the variables never are so in a document.
    """
    found = []
    for name, lines in grammar.rules.items():
        for one, other in combinations(lines, 2):
            if _meet(grammar, one.steps, {}, other.steps, {}, {}):
                found.append(f"{name}: {one.steps} and {other.steps}")
    return found


def _meet(grammar: Grammar, one: Steps, mine: Values, other: Steps, yours: Values, known: Values) -> bool:
    """Whether some text of the steps `one` begins a text of `other`, or the other way round.

    mine, yours: what either side has remembered by itself; known: what both know from before.
    """
    while one and other:
        a, b = one[0], other[0]
        if isinstance(a, str) and isinstance(b, str):
            size = min(len(a), len(b))
            if a[:size] != b[:size]:
                return False
            one, other = (
                (a[size:], *one[1:]) if a[size:] else one[1:],
                (b[size:], *other[1:]) if b[size:] else other[1:],
            )
        elif a == b and isinstance(a, Slot) and a.variable not in {**mine, **yours}:
            one, other = one[1:], other[1:]
        elif isinstance(a, str):
            return _meet(grammar, other, yours, one, mine, known)
        else:
            variable = a.variable if isinstance(a, Slot) else a.by.variable if a.by else ""
            if variable and variable not in {**known, **mine}:
                return any(
                    _meet(grammar, one, mine, other, yours, {**known, variable: line})
                    for line in grammar.domains[variable]
                )
            here = {**known, **mine}
            if isinstance(a, Pick):
                return any(
                    _meet(grammar, (*line.steps, *one[1:]), _with(mine, a.name, line), other, yours, known)
                    for line in grammar.lines(a, here)
                )
            one = (here[a.variable].forms[a.form], *one[1:])
    return True


def _with(values: Values, name: str, line: Line) -> Values:
    return {**values, name: line} if name else values
