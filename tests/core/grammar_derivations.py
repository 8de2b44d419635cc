"""Reference implementation of grammars: derives texts symbol by symbol, to compare with the generator."""

from __future__ import annotations

from core.download.grammar import Alternative, Bindings, Choice, Grammar, Symbol, VariableReference


def decode(grammar: Grammar, random_bytes: bytes) -> tuple[str, int]:
    """The text that `random_bytes` decode to, and its bits."""
    remaining, bindings, bits = list(random_bytes), dict[str, Alternative](), 0

    def expand(symbol: Symbol) -> str:
        nonlocal bits
        if isinstance(symbol, str):
            return symbol
        if isinstance(symbol, VariableReference):
            return bindings[symbol.variable].attributes[symbol.attribute]
        byte, end = remaining.pop(0), 0
        for alternative in grammar.alternatives(symbol, bindings):
            end += 256 >> alternative.bits
            if byte < end:
                break
        bits += alternative.bits
        if symbol.variable:
            bindings[symbol.variable] = alternative
        return "".join(map(expand, alternative.symbols))

    return expand(Choice(grammar.start, None, "")), bits


def all_derivations(grammar: Grammar) -> list[tuple[str, int]]:
    """Text and bits of each derivation."""
    derivations = []

    def derive(text: str, bits: int, symbols: tuple[Symbol, ...], bindings: Bindings) -> None:
        if not symbols:
            derivations.append((text, bits))
            return
        symbol, *rest = symbols
        if isinstance(symbol, Choice):
            for alternative in grammar.alternatives(symbol, bindings):
                extended = {**bindings, symbol.variable: alternative} if symbol.variable else bindings
                derive(text, bits + alternative.bits, (*alternative.symbols, *rest), extended)
        elif isinstance(symbol, VariableReference):
            derive(text + bindings[symbol.variable].attributes[symbol.attribute], bits, tuple(rest), bindings)
        else:
            derive(text + symbol, bits, tuple(rest), bindings)

    derive("", 0, (Choice(grammar.start, None, ""),), {})
    return derivations
