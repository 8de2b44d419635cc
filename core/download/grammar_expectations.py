"""Exact expectations over documents of a grammar: entropy in bits and length in bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from core.download.grammar import Grammar, Line, Pick, Slot, Step

Sum = dict[tuple[str, ...], dict[tuple[Line, ...], Fraction]]
"""A function of variables as a sum of tables: variables → what they remember → amount. No table spans more variables
than depend on each other, so that it stays small where a table over all of them would have billions of rows."""


def mean_bits(grammar: Grammar) -> Fraction:
    """The entropy of one document, as every choice is visible in the text."""
    return _mean(grammar, lambda line: line.bits, lambda text: 0)


def mean_bytes(grammar: Grammar) -> Fraction:
    """The mean length of a document in UTF-8."""
    return _mean(grammar, lambda line: 0, lambda text: len(text.encode()))


def _mean(grammar: Grammar, of_line: Callable[[Line], int], of_text: Callable[[str], int]) -> Fraction:
    total = _Totals(grammar, of_line, of_text).before(Pick(grammar.start, None, ""), {})
    unset = sorted({name for names in total for name in names})
    if unset:
        raise ValueError(f"used before they are remembered: {', '.join(unset)}")
    return total.get((), {}).get((), Fraction(0))


class _Totals:
    """Goes from the end of the document to its beginning, carrying what is to come as a function of the variables."""

    def __init__(self, grammar: Grammar, of_line: Callable[[Line], int], of_text: Callable[[str], int]) -> None:
        self._grammar, self._of_line, self._of_text = grammar, of_line, of_text
        self._alone: dict[str, Sum] = {}
        self._sets: dict[str, frozenset[str]] = {}

    def before(self, step: Step, rest: Sum) -> Sum:
        """The sum before `step`, given the sum `rest` after it."""
        if isinstance(step, str):
            return _add(rest, {(): {(): Fraction(self._of_text(step))}})
        if isinstance(step, Slot):
            domain = self._grammar.domains.get(step.variable, ())
            said: dict[tuple[Line, ...], Fraction] = {
                (line,): Fraction(self._of_text(line.forms[step.form])) for line in domain
            }
            return _add(rest, {(step.variable,): said})
        sets = self._set_by(step)
        touched = {names: table for names, table in rest.items() if not sets.isdisjoint(names)}
        return _add(
            {names: table for names, table in rest.items() if names not in touched}, self._chosen(step, touched)
        )

    def _chosen(self, pick: Pick, rest: Sum) -> Sum:
        if pick.by is None:
            return self._rule(pick.rule, pick.name, rest)
        total: Sum = {}
        sums = {rule: self._rule(rule, pick.name, rest) for rule in self._grammar.rules_of(pick)}
        for line in self._grammar.domains[pick.by.variable]:
            total = _add(total, _where(sums[line.forms[pick.by.form]], pick.by.variable, line))
        return total

    def _rule(self, rule: str, name: str, rest: Sum) -> Sum:
        if not rest and not name and rule in self._alone:
            return self._alone[rule]
        total: Sum = {}
        for line in self._grammar.rules[rule]:
            ahead = rest
            for step in reversed(line.steps):
                ahead = self.before(step, ahead)
            ahead = _add(ahead, {(): {(): Fraction(self._of_line(line))}})
            total = _add(total, _fixed(ahead, name, line), Fraction(1, 2**line.bits))
        if not rest and not name:
            self._alone[rule] = total
        return total

    def _set_by(self, pick: Pick) -> frozenset[str]:
        """The variables that are set in `pick` and below."""
        return frozenset([pick.name] if pick.name else []).union(*map(self._set_in, self._grammar.rules_of(pick)))

    def _set_in(self, rule: str) -> frozenset[str]:
        if rule not in self._sets:
            found: frozenset[str] = frozenset()
            for line in self._grammar.rules[rule]:
                found |= self._set_once(line.steps)
            self._sets[rule] = found
        return self._sets[rule]

    def _set_once(self, steps: Sequence[Step]) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        for step in steps:
            more = self._set_by(step) if isinstance(step, Pick) else frozenset()
            if found & more:
                raise ValueError(f"remembered twice: {', '.join(sorted(found & more))}")
            found |= more
        return found


def _add(one: Sum, other: Sum, share: Fraction = Fraction(1)) -> Sum:
    """`one` + `share` · `other`, both left as they are."""
    total = dict(one)
    for names, table in other.items():
        mine = dict(total.get(names, {}))
        for lines, amount in table.items():
            if amount:
                mine[lines] = mine.get(lines, Fraction(0)) + share * amount
        total[names] = mine
    return total


def _fixed(total: Sum, name: str, line: Line) -> Sum:
    """The same function when `name` remembers `line`."""
    fixed: Sum = {}
    for names, table in total.items():
        if name not in names:
            fixed = _add(fixed, {names: table})
            continue
        at = names.index(name)
        rows = {lines[:at] + lines[at + 1 :]: amount for lines, amount in table.items() if lines[at] is line}
        fixed = _add(fixed, {names[:at] + names[at + 1 :]: rows})
    return fixed


def _where(total: Sum, name: str, line: Line) -> Sum:
    """The function that is `total` when `name` remembers `line`, and nothing otherwise."""
    within: Sum = {}
    for names, table in total.items():
        if name in names:
            at = names.index(name)
            rows = {lines: amount for lines, amount in table.items() if lines[at] is line}
            within = _add(within, {names: rows})
            continue
        wider = tuple(sorted((*names, name)))
        at = wider.index(name)
        within = _add(within, {wider: {(*lines[:at], line, *lines[at:]): amount for lines, amount in table.items()}})
    return within
