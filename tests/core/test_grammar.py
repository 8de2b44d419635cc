"""Grammars of whole bits: what is drawn, what is scored and what is computed are the same probabilities."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import product

import pytest

from core.download.grammar import Grammar
from core.download.grammar_expectations import mean_bits, mean_bytes
from core.download.grammar_generate import Teller, derivations
from tests.core.derived import everything
from tests.core.prefix_free import clashes

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
    texts = everything(toy)
    assert len(texts) == len(dict(texts)) == 84
    share = {text: Fraction(1, 2**bits) for text, bits in texts}
    assert sum(share.values()) == 1
    assert sum(share[text] * bits for text, bits in texts) == mean_bits(toy)
    assert sum(share[text] * len(text) for text in share) == mean_bytes(toy)
    assert all(derivations(toy, text) == [bits] for text, bits in texts)


def test_texts_are_drawn_exactly_as_often_as_their_probability_says() -> None:
    toy = Grammar(TOY, FORMS)
    teller = Teller(toy)
    # no choice in it takes more than three bits
    some = range(0, 256, 32)
    drawn = Counter(teller.tell(bytes(draws)) for draws in product(some, repeat=teller.draws))
    assert teller.draws == 6
    assert {text: Fraction(count, 8**6) for text, count in drawn.items()} == {
        text: Fraction(1, 2**bits) for text, bits in everything(toy)
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
def test_the_check_sees_a_line_that_begins_another(rules: dict[str, str]) -> None:
    assert clashes(Grammar(rules, {}))


def test_no_text_that_can_be_read_in_two_ways_passes_the_check() -> None:
    two_ways = Grammar({"story": "{x}{y}", "x": "a / ab", "y": "bc / c"}, {})
    assert derivations(two_ways, "abc") == [2, 2] and clashes(two_ways)
    assert clashes(Grammar(TOY, FORMS)) == []


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"story": "{x=y}"}, "no rule 'y'"),
        ({"story": "{>x.y}"}, "'x' is neither a rule nor ever remembered"),
        ({"story": "{x=y}{x.s}", "y": "a | s=b / c"}, "can be 'c', which has no 's'"),
        ({"story": ""}, "0 lines"),
        ({"story": " / ".join(map(str, range(257)))}, "257 lines"),
        ({"story": "{x}"}, "'x' is neither"),
        ({"story": "{x=y}", "y": "a{z}", "z": "b"}, "not fixed text"),
    ],
)
def test_a_grammar_with_a_mistake_is_refused(rules: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Grammar(rules, {})


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"story": "{x} {x=y}", "y": "a"}, "before they are remembered: x"),
        ({"story": "{z}{x} / {x=y}{x}", "y": "a", "z": "b / {x=y}"}, "before they are remembered: x"),
        ({"story": "{x=y}{x=y}", "y": "a / b"}, "remembered twice: x"),
        ({"story": "{x=y}{z}", "y": "a / b", "z": "c{x=y}"}, "remembered twice: x"),
    ],
)
def test_a_variable_that_is_not_set_once_before_its_use_is_found(rules: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        mean_bytes(Grammar(rules, {}))
