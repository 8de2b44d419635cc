"""Samplers, against the book's figures and against slow versions that are obviously right."""

from __future__ import annotations

import collections

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.model.gpt import GPT
from core.recipe import Model
from core.sample.chain import Chain
from core.sample.samplers import BadLogits, top_k, top_p
from tests.core.drawing import ids, settings

# "Build a Large Language Model (From Scratch)", section 5.3: scores for what follows "every effort moves you"
WORDS = "closer every effort forward inches moves pizza toward you".split()
LOGITS = torch.tensor([4.51, 0.89, -1.90, 6.75, 1.63, -1.62, -1.89, 6.28, 1.79])


def draws(temperature: float) -> dict[str, int]:
    chain = Chain(settings(temperature=temperature, seed=123), len(WORDS))
    return dict(collections.Counter(WORDS[chain.draw(LOGITS)] for _ in range(1000)))


def test_a_thousand_draws_give_the_books_counts() -> None:
    assert draws(1.0) == {"closer": 73, "forward": 582, "inches": 2, "toward": 343}
    assert draws(0.1) == {"forward": 985, "toward": 15}
    counts = draws(5.0)
    assert [counts[word] for word in WORDS] == [165, 75, 42, 239, 71, 46, 32, 227, 103]


def test_top_3_probabilities_are_the_books() -> None:
    (step,) = Chain(settings(top_k=3), len(WORDS)).steps(LOGITS)
    assert [WORDS[token] for token in step.ids.tolist()] == ["forward", "toward", "closer"]
    assert torch.softmax(step.scores, -1).tolist() == pytest.approx([0.5775, 0.3610, 0.0615], abs=5e-5)


scores = st.lists(st.integers(-200, 200).map(lambda tenths: tenths / 10), min_size=1, max_size=30, unique=True)


@given(scores, st.integers(1, 40))
def test_top_k_keeps_the_k_highest(values: list[float], k: int) -> None:
    kept = [values[place] for place in top_k(torch.tensor(values), k).tolist()]
    assert kept == pytest.approx(sorted(values, reverse=True)[:k])


@given(scores, st.floats(0.01, 0.999))
def test_top_p_keeps_the_fewest_that_reach_p(values: list[float], p: float) -> None:
    logits = torch.tensor(values, dtype=torch.float64)
    kept = set(top_p(logits, p).tolist())
    probabilities = torch.softmax(logits, -1).tolist()
    expected, total = set(), 0.0
    for i in sorted(range(len(values)), key=lambda i: -values[i]):
        if total >= p:
            break
        expected.add(i)
        total += probabilities[i]
    near = any(abs(sum(sorted(probabilities, reverse=True)[:n]) - p) < 1e-9 for n in range(len(values)))
    assert kept == expected or near


def model() -> GPT:
    torch.manual_seed(1)
    return GPT(Model(n_layer=1, n_head=2, n_embd=16, block_size=8), 20)


def test_a_seed_decides_the_text_and_the_models_own_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    first = ids(model_ := model(), [1, 2], settings())
    state = torch.get_rng_state()
    assert first == ids(model_, [1, 2], settings())
    assert first != ids(model_, [1, 2], settings(seed=6))
    assert torch.equal(state, torch.get_rng_state())
    assert len(before) == len(state)
    assert model_.training


def test_generation_goes_past_the_context_and_sees_only_its_tail() -> None:
    long = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    assert ids(model(), long, settings()) == ids(model(), long[-8:], settings())


def test_temperature_zero_takes_the_likeliest_and_stop_ends_it() -> None:
    greedy = ids(model(), [1], settings(temperature=0.0))
    assert greedy == ids(model(), [1], settings(temperature=0.0, seed=99))
    assert ids(model(), [1], settings(temperature=0.0, stop_tokens=(greedy[0],))) == []


def test_output_that_is_not_finite_is_named_not_drawn_from() -> None:
    broken = model()
    with torch.no_grad():
        broken.lm_head.weight[3] = torch.nan
    with pytest.raises(BadLogits, match="not finite"):
        ids(broken, [1], settings())
