"""Probabilistic context-free grammars whose choices cost a whole number of bits each.

A grammar is a table of rules, each a list of alternatives. With n alternatives and 2^k the next power of two, the first
2^k - n cost k - 1 bits and the rest k: the probabilities 2^-bits add up to one, and earlier alternatives are more
frequent. A document is thus a decoded string of fair bits, its probability a power of two and the entropy a fraction.

Syntax of an alternative:

    {rule}            an alternative of a rule, sampled
    {hero=girl}       an alternative of a rule, sampled and bound to the variable `hero`
    {hero}            the text bound to `hero`; a variable takes precedence over a rule of the same name
    {hero.they}       an attribute of the alternative bound to `hero`
    {>tool.use}       an alternative of the rule that an attribute names; {end=>tool.use} binds it
    ¶                 a newline
    text | a=b | @s   attributes of the alternative, `@s` all of the set `s`; without a text, those of all alternatives
    one / two         several short alternatives on one line

A bound alternative is literal text. Each variable is bound once, before it is used; `grammar_expectations` checks that.
Parsing is unique if no alternative of a rule begins with what another alternative of it can produce as a whole;
`tests/core/grammar_prefix_free.py` checks that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_BOUND = re.compile(r"\{([^{}=]*)=")


class VariableReference(NamedTuple):
    """The text or an attribute of the alternative bound to a variable."""

    variable: str
    attribute: str
    """Empty: the text itself."""


class Choice(NamedTuple):
    """A random choice among the alternatives of a rule."""

    rule: str
    """Empty if `by` names it."""
    by: VariableReference | None
    """The attribute that names the rule."""
    variable: str
    """The variable that the alternative is bound to, or empty."""


Symbol = str | VariableReference | Choice


@dataclass(frozen=True, eq=False)
class Alternative:
    """An alternative of a rule. Compared by identity."""

    symbols: tuple[Symbol, ...]
    attributes: Mapping[str, str]
    """Its attributes; "" is its text if that is literal."""
    bits: int
    """Its probability is 2^-bits."""


Bindings = Mapping[str, Alternative]
"""Variable → the alternative bound to it."""


class Grammar:
    """The rules by name, and the variables."""

    def __init__(
        self, rules: Mapping[str, str], attribute_sets: Mapping[str, Mapping[str, str]], start: str = "story"
    ) -> None:
        """rules: name → alternatives in the syntax above. Raises ValueError if a rule is invalid."""
        self.start = start
        unbound = set(rules).difference(*map(_BOUND.findall, rules.values()))
        self.rules = {name: _parse_rule(name, text, attribute_sets, unbound) for name, text in rules.items()}
        for alternatives in self.rules.values():
            for alternative in alternatives:
                for symbol in alternative.symbols:
                    self._check(symbol)

    def choices(self) -> Iterator[Choice]:
        """Every choice in every alternative."""
        for alternatives in self.rules.values():
            for alternative in alternatives:
                yield from (symbol for symbol in alternative.symbols if isinstance(symbol, Choice))

    def alternatives(self, choice: Choice, bindings: Bindings) -> tuple[Alternative, ...]:
        """The alternatives of `choice`."""
        if choice.by is None:
            return self.rules[choice.rule]
        return self.rules[bindings[choice.by.variable].attributes[choice.by.attribute]]

    @cached_property
    def domains(self) -> dict[str, tuple[Alternative, ...]]:
        """Variable → every alternative that can be bound to it."""
        domains: dict[str, dict[Alternative, None]] = {
            choice.variable: {} for choice in self.choices() if choice.variable
        }
        changed = True
        while changed:
            size_before = sum(map(len, domains.values()))
            for choice in self.choices():
                if choice.variable:
                    for rule in self._rules_of(choice, domains):
                        domains[choice.variable].update(dict.fromkeys(self.rules.get(rule, ())))
            changed = sum(map(len, domains.values())) > size_before
        return {name: tuple(alternatives) for name, alternatives in domains.items()}

    def rules_of(self, choice: Choice) -> list[str]:
        """The rules that `choice` can refer to."""
        return self._rules_of(choice, self.domains)

    @staticmethod
    def _rules_of(choice: Choice, domains: Mapping[str, Iterable[Alternative]]) -> list[str]:
        if choice.by is None:
            return [choice.rule]
        return sorted({bound.attributes.get(choice.by.attribute, "") for bound in domains[choice.by.variable]})

    @cached_property
    def max_choices(self) -> int:
        """Maximum number of choices in a document."""
        maxima: dict[str, int] = {}

        def maximum(rule: str) -> int:
            if rule not in maxima:
                maxima[rule] = max(
                    sum(
                        1 + max(map(maximum, self.rules_of(symbol)))
                        for symbol in alternative.symbols
                        if isinstance(symbol, Choice)
                    )
                    for alternative in self.rules[rule]
                )
            return maxima[rule]

        return 1 + maximum(self.start)

    def _check(self, symbol: Symbol) -> None:
        if isinstance(symbol, str):
            return
        reference = symbol if isinstance(symbol, VariableReference) else symbol.by
        if reference is not None:
            if reference.variable not in self.domains:
                raise ValueError(f"{reference.variable!r} is neither a rule nor a variable")
            for bound in self.domains[reference.variable]:
                if reference.attribute not in bound.attributes:
                    text = bound.attributes[""]
                    raise ValueError(f"{reference.variable!r} can be {text!r}, which has no {reference.attribute!r}")
        if isinstance(symbol, VariableReference):
            return
        for rule in self.rules_of(symbol):
            if rule not in self.rules:
                raise ValueError(f"there is no rule {rule!r}")
            if symbol.variable and not all("" in alternative.attributes for alternative in self.rules[rule]):
                raise ValueError(
                    f"{symbol.variable!r} is bound to {rule!r}, an alternative of which is not literal text"
                )


def _parse_rule(
    name: str, text: str, attribute_sets: Mapping[str, Mapping[str, str]], rules: set[str]
) -> tuple[Alternative, ...]:
    common: dict[str, str] = {}
    parsed: list[tuple[str, dict[str, str]]] = []
    for line in filter(None, (row.strip() for row in text.replace(" / ", "\n").split("\n"))):
        words, *pairs = (field.strip() for field in line.split("|"))
        attributes: dict[str, str] = {}
        for pair in pairs:
            key, _, value = pair.partition("=")
            attributes |= attribute_sets[key[1:]] if key.startswith("@") else {key: value}
        if words:
            parsed.append((words.replace("¶", "\n"), attributes))
        else:
            common |= attributes
    if not parsed or len(parsed) > 256:
        raise ValueError(f"the rule {name!r} has {len(parsed)} lines instead of 1 to 256")
    max_bits = (len(parsed) - 1).bit_length()
    cheaper = 2**max_bits - len(parsed)  # alternatives of one bit less
    alternatives = []
    for index, (words, attributes) in enumerate(parsed):
        symbols = tuple(_parse_symbols(words, rules))
        literal = {"": words} if symbols == (words,) else {}
        alternatives.append(Alternative(symbols, common | attributes | literal, max_bits - (index < cheaper)))
    return tuple(alternatives)


def _parse_symbols(words: str, rules: set[str]) -> Iterator[Symbol]:
    for index, token in enumerate(_PLACEHOLDER.split(words)):
        if index % 2 == 0:
            if token:
                yield token
            continue
        variable, _, target = token.rpartition("=")
        if target.startswith(">"):
            yield Choice("", _parse_reference(target[1:]), variable)
        elif variable or target in rules:
            yield Choice(target, None, variable)
        else:
            yield _parse_reference(target)


def _parse_reference(text: str) -> VariableReference:
    variable, _, attribute = text.partition(".")
    return VariableReference(variable, attribute)
