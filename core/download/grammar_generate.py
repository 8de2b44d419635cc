"""Generates documents of a grammar from random bytes, and computes the bits of a given text independently."""

from __future__ import annotations

from typing import Any

from core.download.grammar import Alternative, Bindings, Choice, Grammar, VariableReference


class TextGenerator:
    """Generates documents of a grammar, about 20 MB/s.

    Each choice consumes one byte, an index into a table of 256 entries that holds each alternative as often as its
    probability requires. The values of variables are substituted at the end, all at once.
    """

    def __init__(self, grammar: Grammar) -> None:
        self.max_random_bytes = grammar.max_choices
        """Maximum number of random bytes per document."""
        self._tables: dict[tuple[str, str], Any] = {}
        for choice in (Choice(grammar.start, None, ""), *grammar.choices()):
            for rule in grammar.rules_of(choice):
                if (rule, choice.variable) not in self._tables:
                    self._tables[rule, choice.variable] = [
                        entry
                        for alternative in grammar.rules[rule]
                        for entry in [(self._compile(alternative), _attributes(choice.variable, alternative))]
                        for _ in range(256 >> alternative.bits)
                    ]
        self._start = grammar.start

    @staticmethod
    def _compile(alternative: Alternative) -> list[Any]:
        """The symbols of `alternative`: choices as tuples; adjacent text and variables joined into a format string."""
        symbols: list[Any] = []
        for symbol in alternative.symbols:
            if isinstance(symbol, Choice):
                by = f"{symbol.by.variable}.{symbol.by.attribute}" if symbol.by else ""
                symbols.append((symbol.rule, by, symbol.variable))
                continue
            if isinstance(symbol, VariableReference):
                text = f"%({symbol.variable}.{symbol.attribute})s"
            else:
                text = symbol.replace("%", "%%")
            if symbols and isinstance(symbols[-1], str):
                symbols[-1] += text
            else:
                symbols.append(text)
        return symbols

    def generate(self, random_bytes: bytes) -> str:
        """Decode random bytes to a document; surplus bytes are ignored."""
        values: dict[str, str] = {}
        fragments: list[str] = []
        next_byte = iter(random_bytes).__next__
        tables, add = self._tables, fragments.append

        def expand(symbols: list[Any]) -> None:
            for symbol in symbols:
                if symbol.__class__ is str:
                    add(symbol)
                else:
                    rule, by, variable = symbol
                    inner, attributes = tables[rule or values[by], variable][next_byte()]
                    if variable:
                        values.update(attributes)
                    expand(inner)

        expand(tables[self._start, ""][next_byte()][0])
        return "".join(fragments) % values


def _attributes(variable: str, alternative: Alternative) -> dict[str, str]:
    """The values of a format string, `variable.attribute` → text, after `alternative` is bound to `variable`."""
    return {f"{variable}.{name}": value for name, value in alternative.attributes.items()} if variable else {}


Pending = tuple[Any, "Pending"] | None
"""A linked list of the symbols that remain to be matched."""


def derivation_bits(grammar: Grammar, text: str) -> list[int]:
    """The bits of each derivation of `text`; empty if the grammar cannot produce it.

    Tries every alternative at every choice, so that a second derivation would be found too.
    """
    results: list[int] = []
    bindings: Bindings = {}
    stack: list[tuple[int, Pending, Bindings, int]] = [(0, (Choice(grammar.start, None, ""), None), bindings, 0)]
    while stack:
        position, pending, bindings, bits = stack.pop()
        if pending is None:
            if position == len(text):
                results.append(bits)
            continue
        symbol, rest = pending
        if isinstance(symbol, Choice):
            for alternative in grammar.alternatives(symbol, bindings):
                first = alternative.symbols[0]
                if isinstance(first, str) and not text.startswith(first, position):
                    continue
                following = rest
                for inner in reversed(alternative.symbols):
                    following = (inner, following)
                extended = {**bindings, symbol.variable: alternative} if symbol.variable else bindings
                stack.append((position, following, extended, bits + alternative.bits))
            continue
        if isinstance(symbol, VariableReference):
            expected = bindings[symbol.variable].attributes[symbol.attribute]
        else:
            expected = symbol
        if text.startswith(expected, position):
            stack.append((position + len(expected), rest, bindings, bits))
    return results
