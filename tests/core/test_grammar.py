"""Grammars: generation, parsing and the expectations agree on the probabilities."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product

import pytest

from core.download.grammar import Grammar
from core.download.grammar_expectations import mean_bits, mean_bytes
from core.download.grammar_generate import TextGenerator, derivation_bits
from tests.core.grammar_derivations import all_derivations
from tests.core.grammar_prefix_free import prefix_conflicts

TOY = {
    "story": "{a=who} {act}, and {a.they} {again}¶ / {greeting} {a=who}! {act}¶",
    "who": "Ann | @she / Bob | @he | does=swims / Cy | @he",
    "greeting": "Hello / Good morning",
    "act": "{>a.does} / sat",
    "runs": "ran / crept",
    "swims": "swam / dived / sank / sailed / rowed",
    "again": "slept / {a} woke / went to {b=where} and left {b}",
    "where": "Rome / Ulm / Bonn",
}
FORMS = {"she": {"they": "she", "does": "runs"}, "he": {"they": "he", "does": "runs"}}


def test_the_probabilities_of_all_texts_add_up_to_one_and_give_the_means() -> None:
    toy = Grammar(TOY, FORMS)
    texts = all_derivations(toy)
    assert len(texts) == len(dict(texts)) == 84
    probability = {text: Fraction(1, 2**bits) for text, bits in texts}
    assert sum(probability.values()) == 1
    assert sum(probability[text] * bits for text, bits in texts) == mean_bits(toy)
    assert sum(probability[text] * len(text) for text in probability) == mean_bytes(toy)
    assert all(derivation_bits(toy, text) == [bits] for text, bits in texts)


@pytest.mark.heavy
def test_generation_gives_each_text_its_exact_probability() -> None:
    toy = Grammar(TOY, FORMS)
    generator = TextGenerator(toy)
    # no choice of this grammar costs more than three bits
    bytes_to_try = range(0, 256, 32)
    random_bytes = product(bytes_to_try, repeat=generator.max_random_bytes)
    counts = Counter(generator.generate(bytes(choices)) for choices in random_bytes)
    assert generator.max_random_bytes == 6
    assert {text: Fraction(count, 8**6) for text, count in counts.items()} == {
        text: Fraction(1, 2**bits) for text, bits in all_derivations(toy)
    }


@pytest.mark.parametrize(
    "rules",
    [
        {"story": "ball / balloon"},
        {"story": "{x}b / {x}bc", "x": "a / b"},
        {"story": "{x}c / {y}", "x": "a / ab", "y": "abc"},
        {"story": "{a=x}{b}", "x": "1 / 2", "b": "{a} / 2"},
        {"story": "{a=x}{b}", "x": "1 | s=u / 2 | s=w", "u": "u", "w": "w", "b": "{>a.s} / w."},
    ],
)
def test_an_alternative_that_is_a_prefix_of_another_is_a_conflict(rules: dict[str, str]) -> None:
    assert prefix_conflicts(Grammar(rules, {}))


def test_a_text_with_two_derivations_is_a_conflict() -> None:
    ambiguous = Grammar({"story": "{x}{y}", "x": "a / ab", "y": "bc / c"}, {})
    assert derivation_bits(ambiguous, "abc") == [2, 2] and prefix_conflicts(ambiguous)
    assert prefix_conflicts(Grammar(TOY, FORMS)) == []


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"story": "{x=y}"}, "no rule 'y'"),
        ({"story": "{>x.y}"}, "'x' is neither a rule nor a variable"),
        ({"story": "{x=y}{x.s}", "y": "a | s=b / c"}, "can be 'c', which has no 's'"),
        ({"story": ""}, "0 lines"),
        ({"story": " / ".join(map(str, range(257)))}, "257 lines"),
        ({"story": "{x}"}, "'x' is neither"),
        ({"story": "{x=y}", "y": "a{z}", "z": "b"}, "not literal text"),
    ],
)
def test_an_invalid_grammar_raises(rules: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grammar(rules, {})


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"story": "{x} {x=y}", "y": "a"}, "before they are bound: x"),
        ({"story": "{z}{x} / {x=y}{x}", "y": "a", "z": "b / {x=y}"}, "before they are bound: x"),
        ({"story": "{x=y}{x=y}", "y": "a / b"}, "bound twice: x"),
        ({"story": "{x=y}{z}", "y": "a / b", "z": "c{x=y}"}, "bound twice: x"),
    ],
)
def test_a_variable_that_is_not_bound_once_before_its_use_raises(rules: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_bytes(Grammar(rules, {}))
