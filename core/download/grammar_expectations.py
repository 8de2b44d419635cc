"""Exact expectations over the documents of a grammar: entropy in bits and length in bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from core.download.grammar import Alternative, Choice, Grammar, Symbol, VariableReference

FactorSum = dict[tuple[str, ...], dict[tuple[Alternative, ...], Fraction]]
"""A function of the variables' values as a sum of tables (factors): variables → their values → amount.

A factor spans only variables that depend on each other; one table over all of them would have billions of rows.
"""


def mean_bits(grammar: Grammar) -> Fraction:
    """The entropy of a document: each choice can be read off the text."""
    return _mean(grammar, lambda alternative: alternative.bits, lambda text: 0)


def mean_bytes(grammar: Grammar) -> Fraction:
    """The mean length of a document in UTF-8."""
    return _mean(grammar, lambda alternative: 0, lambda text: len(text.encode()))


def _mean(
    grammar: Grammar, cost_of_choice: Callable[[Alternative], int], cost_of_text: Callable[[str], int]
) -> Fraction:
    total = _Expectation(grammar, cost_of_choice, cost_of_text).before(Choice(grammar.start, None, ""), {})
    unbound = sorted({name for names in total for name in names})
    if unbound:
        raise ValueError(f"used before they are bound: {', '.join(unbound)}")
    return total.get((), {}).get((), Fraction(0))


class _Expectation:
    """Backward pass over a document: the expected cost of what follows, as a function of the variables."""

    def __init__(
        self, grammar: Grammar, cost_of_choice: Callable[[Alternative], int], cost_of_text: Callable[[str], int]
    ) -> None:
        self._grammar, self._cost_of_choice, self._cost_of_text = grammar, cost_of_choice, cost_of_text
        self._cached_rules: dict[str, FactorSum] = {}
        self._cached_variables: dict[str, frozenset[str]] = {}

    def before(self, symbol: Symbol, rest: FactorSum) -> FactorSum:
        """The expectation before `symbol`, given the expectation `rest` after it."""
        if isinstance(symbol, str):
            return _add(rest, {(): {(): Fraction(self._cost_of_text(symbol))}})
        if isinstance(symbol, VariableReference):
            costs: dict[tuple[Alternative, ...], Fraction] = {
                (value,): Fraction(self._cost_of_text(value.attributes[symbol.attribute]))
                for value in self._grammar.domains.get(symbol.variable, ())
            }
            return _add(rest, {(symbol.variable,): costs})
        bound = self._bound_by(symbol)
        dependent = {names: table for names, table in rest.items() if not bound.isdisjoint(names)}
        independent = {names: table for names, table in rest.items() if names not in dependent}
        return _add(independent, self._before_choice(symbol, dependent))

    def _before_choice(self, choice: Choice, rest: FactorSum) -> FactorSum:
        if choice.by is None:
            return self._before_rule(choice.rule, choice.variable, rest)
        total: FactorSum = {}
        by_rule = {rule: self._before_rule(rule, choice.variable, rest) for rule in self._grammar.rules_of(choice)}
        for value in self._grammar.domains[choice.by.variable]:
            rule = value.attributes[choice.by.attribute]
            total = _add(total, _restrict(by_rule[rule], choice.by.variable, value))
        return total

    def _before_rule(self, rule: str, variable: str, rest: FactorSum) -> FactorSum:
        if not rest and not variable and rule in self._cached_rules:
            return self._cached_rules[rule]
        total: FactorSum = {}
        for alternative in self._grammar.rules[rule]:
            following = rest
            for symbol in reversed(alternative.symbols):
                following = self.before(symbol, following)
            following = _add(following, {(): {(): Fraction(self._cost_of_choice(alternative))}})
            total = _add(total, _substitute(following, variable, alternative), Fraction(1, 2**alternative.bits))
        if not rest and not variable:
            self._cached_rules[rule] = total
        return total

    def _bound_by(self, choice: Choice) -> frozenset[str]:
        """The variables that `choice` and the rules below it bind."""
        own = [choice.variable] if choice.variable else []
        return frozenset(own).union(*map(self._bound_in_rule, self._grammar.rules_of(choice)))

    def _bound_in_rule(self, rule: str) -> frozenset[str]:
        if rule not in self._cached_variables:
            alternatives = self._grammar.rules[rule]
            bound = frozenset[str]().union(*(self._bound_in_sequence(each.symbols) for each in alternatives))
            self._cached_variables[rule] = bound
        return self._cached_variables[rule]

    def _bound_in_sequence(self, symbols: Sequence[Symbol]) -> frozenset[str]:
        """Raises ValueError if a variable is bound twice."""
        bound: frozenset[str] = frozenset()
        for symbol in symbols:
            more = self._bound_by(symbol) if isinstance(symbol, Choice) else frozenset()
            if bound & more:
                raise ValueError(f"bound twice: {', '.join(sorted(bound & more))}")
            bound |= more
        return bound


def _add(a: FactorSum, b: FactorSum, weight: Fraction = Fraction(1)) -> FactorSum:
    """`a` + `weight` · `b`, without changing either."""
    total = dict(a)
    for names, table in b.items():
        merged = dict(total.get(names, {}))
        for values, amount in table.items():
            if amount:
                merged[values] = merged.get(values, Fraction(0)) + weight * amount
        total[names] = merged
    return total


def _substitute(function: FactorSum, variable: str, value: Alternative) -> FactorSum:
    """`function` with `variable` = `value`, no longer a function of `variable`."""
    result: FactorSum = {}
    for names, table in function.items():
        if variable not in names:
            result = _add(result, {names: table})
            continue
        index = names.index(variable)
        rows = {
            values[:index] + values[index + 1 :]: amount for values, amount in table.items() if values[index] is value
        }
        result = _add(result, {names[:index] + names[index + 1 :]: rows})
    return result


def _restrict(function: FactorSum, variable: str, value: Alternative) -> FactorSum:
    """`function` where `variable` = `value`, zero elsewhere."""
    result: FactorSum = {}
    for names, table in function.items():
        if variable in names:
            index = names.index(variable)
            rows = {values: amount for values, amount in table.items() if values[index] is value}
            result = _add(result, {names: rows})
            continue
        wider = tuple(sorted((*names, variable)))
        index = wider.index(variable)
        rows = {(*values[:index], value, *values[index:]): amount for values, amount in table.items()}
        result = _add(result, {wider: rows})
    return result
