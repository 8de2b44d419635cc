"""Decides from the rules of a grammar whether each of its texts has one derivation only."""

from __future__ import annotations

from itertools import combinations

from core.download.grammar import Alternative, Bindings, Choice, Grammar, Symbol, VariableReference

Symbols = tuple[Symbol, ...]


def prefix_conflicts(grammar: Grammar) -> list[str]:
    """The rules in which a text of one alternative is a prefix of a text of another, or equal to it.

    Without conflicts, parsing is unique: from left to right at most one alternative matches at each choice, and its
    end is certain. Compares each pair of alternatives through all continuations and all values of the variables; a
    conflict is reported even if those values cannot occur in a document.
    """
    conflicts = []
    for name, alternatives in grammar.rules.items():
        for a, b in combinations(alternatives, 2):
            if _overlap(grammar, a.symbols, {}, b.symbols, {}, {}):
                conflicts.append(f"{name}: {a.symbols} and {b.symbols}")
    return conflicts


def _overlap(
    grammar: Grammar, left: Symbols, left_bound: Bindings, right: Symbols, right_bound: Bindings, common: Bindings
) -> bool:
    """Whether a text of the symbols `left` is a prefix of a text of `right`, or the reverse.

    left_bound, right_bound: what either side has bound itself; common: what was bound before the choice.
    """
    while left and right:
        a, b = left[0], right[0]
        if isinstance(a, str) and isinstance(b, str):
            size = min(len(a), len(b))
            if a[:size] != b[:size]:
                return False
            left, right = (
                (a[size:], *left[1:]) if a[size:] else left[1:],
                (b[size:], *right[1:]) if b[size:] else right[1:],
            )
        elif a == b and isinstance(a, VariableReference) and a.variable not in {**left_bound, **right_bound}:
            left, right = left[1:], right[1:]
        elif isinstance(a, str):
            return _overlap(grammar, right, right_bound, left, left_bound, common)
        else:
            variable = a.variable if isinstance(a, VariableReference) else a.by.variable if a.by else ""
            if variable and variable not in {**common, **left_bound}:
                return any(
                    _overlap(grammar, left, left_bound, right, right_bound, {**common, variable: value})
                    for value in grammar.domains[variable]
                )
            bindings = {**common, **left_bound}
            if isinstance(a, Choice):
                return any(
                    _overlap(
                        grammar,
                        (*alternative.symbols, *left[1:]),
                        _bind(left_bound, a.variable, alternative),
                        right,
                        right_bound,
                        common,
                    )
                    for alternative in grammar.alternatives(a, bindings)
                )
            left = (bindings[a.variable].attributes[a.attribute], *left[1:])
    return True


def _bind(bindings: Bindings, variable: str, value: Alternative) -> Bindings:
    return {**bindings, variable: value} if variable else bindings
