"""Generation with a masked model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.model.gpt import GPT
from core.recipe.schema import Model
from core.sample.generate import prompt_limit
from core.sample.samplers import LogitsError
from core.sample.stream import generate_text
from core.tokenize.characters import byte_vocabulary
from tests.core.generating import generate_ids, settings


def model(block_size: int = 16, vocabulary: int = 20) -> GPT:
    """A model whose logit of the mask token is by far the highest."""
    torch.manual_seed(1)
    shape = Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=block_size, zero_init=False)
    gpt = GPT(shape, vocabulary)
    with torch.no_grad():
        gpt.lm_head.weight[vocabulary] *= 100
    return gpt


@pytest.mark.parametrize("tokens", [1, 12, 15, 16, 100])
@pytest.mark.parametrize("prompt", [[1], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]])
def test_the_requested_number_of_tokens_is_generated_without_mask_tokens(tokens: int, prompt: list[int]) -> None:
    generated = generate_ids(model(), prompt, settings(tokens=tokens))
    assert len(generated) == tokens
    assert all(0 <= token < 20 for token in generated)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_contexts_of_one_to_three_tokens_work(block_size: int) -> None:
    assert len(generate_ids(model(block_size), [1, 2, 3, 4], settings(tokens=7))) == 7


def test_a_seed_determines_the_text_and_global_random_state_is_unchanged() -> None:
    gpt = model()
    state = torch.get_rng_state()
    first = generate_ids(gpt, [1, 2], settings())
    assert first == generate_ids(gpt, [1, 2], settings())
    assert first != generate_ids(gpt, [1, 2], settings(seed=6))
    assert torch.equal(state, torch.get_rng_state())
    assert gpt.training


def test_a_long_prompt_is_truncated_to_its_end() -> None:
    prompt = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]
    assert (prompt_limit(model(), 3), prompt_limit(model(), 100)) == (13, 8)
    assert generate_ids(model(), prompt, settings()) == generate_ids(model(), prompt[-8:], settings())


def test_the_text_ends_at_a_stop_token() -> None:
    gpt = model()
    full_text = generate_ids(gpt, [1], settings(tokens=40))
    stop = full_text[25]
    assert generate_ids(gpt, [1], settings(tokens=40, stop_tokens=(stop,))) == full_text[: full_text.index(stop)]
    assert isinstance(generate_text(model(vocabulary=257), byte_vocabulary(), "a", settings(tokens=20)), str)


def test_non_finite_logits_raise_an_error() -> None:
    model_with_nan = model()
    with torch.no_grad():
        model_with_nan.lm_head.weight[3] = torch.nan
    with pytest.raises(LogitsError, match="not finite"):
        generate_ids(model_with_nan, [1], settings())


class Counter(GPT):
    """Counts up from the nearest known token on the left, and records its inputs."""

    def __init__(self) -> None:
        super().__init__(Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=16), 10)
        self.inputs: list[list[int]] = []

    def hidden_states(self, ids: Tensor) -> Tensor:
        context = ids[0].tolist()
        self.inputs.append(context)
        expected = list(context)
        for position in range(1, len(context)):
            if context[position] == 10:
                expected[position] = (expected[position - 1] + 1) % 10
        return 50 * torch.nn.functional.one_hot(torch.tensor(expected), 10).float()[None]

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


def test_unmasked_tokens_condition_the_following_steps() -> None:
    model = Counter()
    generated = generate_ids(model, [5, 6, 7], settings(tokens=20))
    assert generated == [(8 + number) % 10 for number in range(20)]
    assert [ids.count(10) for ids in model.inputs] == [*range(13, 0, -1), *range(7, 0, -1)]
    assert {len(ids) for ids in model.inputs} == {16}
