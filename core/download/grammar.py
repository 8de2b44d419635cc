"""Grammars in which every choice costs a whole number of bits, so that a text's probability is a power of two.

A grammar is a table of rules, each a few lines to choose from. With n lines, 2^k the next power of two, the first
2^k - n cost k - 1 bits and the rest k: the probabilities 2^-bits add up to one, and the earlier lines are the more
frequent. A document is thus a string of fair bits, decoded. That makes everything exact: a probability is an
integer, and the entropy a fraction.

What may stand in a line:

    {rule}            one line of a rule, chosen anew
    {hero=girl}       one line of a rule, remembered as `hero`
    {hero}            what was remembered, also where a rule has the same name
    {hero.they}       another form of it: an attribute which that line has
    {>tool.use}       one line of the rule that an attribute names; {end=>tool.use} remembers it
    ¶                 a new line
    text | a=b | @s   attributes follow the text, `@s` all of the set `s`; without a text they are those of all lines
    one / two         several short lines in one

A line that is remembered is fixed text. Each variable is set once, before it is used; `totals` finds where it is not.
Parsing is unique when no line of a rule begins with what another line of it can produce as a whole (then neither does
any sequence of them); that this holds is checked by `tests/core/prefix_free.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_MARK = re.compile(r"\{([^{}]*)\}")
_REMEMBERED = re.compile(r"\{([^{}=]*)=")


class Slot(NamedTuple):
    """What a variable says."""

    variable: str
    form: str
    """Empty: the text itself."""


class Pick(NamedTuple):
    """A choice of one line."""

    rule: str
    """Empty where `by` names it."""
    by: Slot | None
    name: str
    """The variable that remembers the line; empty when none does."""


Step = str | Slot | Pick


@dataclass(frozen=True, eq=False)
class Line:
    """One alternative of a rule. Compared by identity."""

    steps: tuple[Step, ...]
    forms: Mapping[str, str]
    """Its attributes; "" is its text where that is fixed."""
    bits: int
    """Its probability is 2^-bits."""


Values = Mapping[str, Line]
"""The lines that variables remember."""


class Grammar:
    """The rules by name, and which variables there are."""

    def __init__(self, rules: Mapping[str, str], forms: Mapping[str, Mapping[str, str]], start: str = "story") -> None:
        """rules: name → lines; forms: the sets of attributes. Raises ValueError where something is not as above."""
        self.start = start
        called = set(rules).difference(*map(_REMEMBERED.findall, rules.values()))
        self.rules = {name: _read(name, text, forms, called) for name, text in rules.items()}
        for lines in self.rules.values():
            for line in lines:
                for step in line.steps:
                    self._check(step)

    def picks(self) -> Iterator[Pick]:
        """Every choice in every line."""
        for lines in self.rules.values():
            for line in lines:
                yield from (step for step in line.steps if isinstance(step, Pick))

    def lines(self, pick: Pick, values: Values) -> tuple[Line, ...]:
        """What `pick` chooses from."""
        return self.rules[values[pick.by.variable].forms[pick.by.form] if pick.by else pick.rule]

    @cached_property
    def domains(self) -> dict[str, tuple[Line, ...]]:
        """Every line that each variable can remember."""
        found: dict[str, dict[Line, None]] = {pick.name: {} for pick in self.picks() if pick.name}
        grown = True
        while grown:
            before = sum(map(len, found.values()))
            for pick in self.picks():
                if pick.name:
                    for rule in self._rules_of(pick, found):
                        found[pick.name].update(dict.fromkeys(self.rules.get(rule, ())))
            grown = sum(map(len, found.values())) > before
        return {name: tuple(lines) for name, lines in found.items()}

    def rules_of(self, pick: Pick) -> list[str]:
        """The rules that `pick` can choose from."""
        return self._rules_of(pick, self.domains)

    @staticmethod
    def _rules_of(pick: Pick, domains: Mapping[str, Iterable[Line]]) -> list[str]:
        if pick.by is None:
            return [pick.rule]
        return sorted({line.forms.get(pick.by.form, "") for line in domains[pick.by.variable]})

    @cached_property
    def most_picks(self) -> int:
        """The most choices that one document takes."""
        known: dict[str, int] = {}

        def most(rule: str) -> int:
            if rule not in known:
                known[rule] = max(
                    sum(1 + max(map(most, self.rules_of(step))) for step in line.steps if isinstance(step, Pick))
                    for line in self.rules[rule]
                )
            return known[rule]

        return 1 + most(self.start)

    def _check(self, step: Step) -> None:
        if isinstance(step, str):
            return
        slot = step if isinstance(step, Slot) else step.by
        if slot is not None:
            if slot.variable not in self.domains:
                raise ValueError(f"{slot.variable!r} is neither a rule nor ever remembered")
            for line in self.domains[slot.variable]:
                if slot.form not in line.forms:
                    raise ValueError(f"{slot.variable!r} can be {line.forms['']!r}, which has no {slot.form!r}")
        if isinstance(step, Slot):
            return
        for rule in self.rules_of(step):
            if rule not in self.rules:
                raise ValueError(f"there is no rule {rule!r}")
            if step.name and not all("" in line.forms for line in self.rules[rule]):
                raise ValueError(f"{step.name!r} would remember a line of {rule!r} which is not fixed text")


def _read(name: str, text: str, forms: Mapping[str, Mapping[str, str]], rules: set[str]) -> tuple[Line, ...]:
    """The lines of one rule."""
    common: dict[str, str] = {}
    read: list[tuple[str, dict[str, str]]] = []
    for line in filter(None, (row.strip() for row in text.replace(" / ", "\n").split("\n"))):
        words, *attributes = (part.strip() for part in line.split("|"))
        own: dict[str, str] = {}
        for attribute in attributes:
            key, _, value = attribute.partition("=")
            own |= forms[key[1:]] if key.startswith("@") else {key: value}
        if words:
            read.append((words.replace("¶", "\n"), own))
        else:
            common |= own
    if not read or len(read) > 256:
        raise ValueError(f"the rule {name!r} has {len(read)} lines instead of 1 to 256")
    long = (len(read) - 1).bit_length()
    short = 2**long - len(read)
    lines = []
    for index, (words, own) in enumerate(read):
        steps = tuple(_steps(words, rules))
        fixed = {"": words} if steps == (words,) else {}
        lines.append(Line(steps, common | own | fixed, long - (index < short)))
    return tuple(lines)


def _steps(words: str, rules: set[str]) -> Iterator[Step]:
    for index, piece in enumerate(_MARK.split(words)):
        if index % 2 == 0:
            if piece:
                yield piece
            continue
        name, _, what = piece.rpartition("=")
        if what.startswith(">"):
            yield Pick("", _slot(what[1:]), name)
        elif name or what in rules:
            yield Pick(what, None, name)
        else:
            yield _slot(what)


def _slot(what: str) -> Slot:
    variable, _, form = what.partition(".")
    return Slot(variable, form)
