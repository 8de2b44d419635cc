"""Text from a masked model."""

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
from tests.core.generating import ids, settings


def model(block_size: int = 16, vocabulary: int = 20) -> GPT:
    """One that would love to say that everything is hidden: its head scores the mark highest by far."""
    torch.manual_seed(1)
    shape = Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=block_size, zero_init=False)
    made = GPT(shape, vocabulary)
    with torch.no_grad():
        made.lm_head.weight[vocabulary] *= 100
    return made


@pytest.mark.parametrize("tokens", [1, 12, 15, 16, 100])
@pytest.mark.parametrize("prompt", [[1], [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]])
def test_it_writes_as_many_tokens_as_asked_for_and_never_the_mark(tokens: int, prompt: list[int]) -> None:
    drawn = ids(model(), prompt, settings(tokens=tokens))
    assert len(drawn) == tokens
    assert all(0 <= token < 20 for token in drawn)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_smallest_contexts_will_do(block_size: int) -> None:
    assert len(ids(model(block_size), [1, 2, 3, 4], settings(tokens=7))) == 7


def test_a_seed_decides_the_text_and_the_models_own_random_state_is_left_alone() -> None:
    writer = model()
    state = torch.get_rng_state()
    first = ids(writer, [1, 2], settings())
    assert first == ids(writer, [1, 2], settings())
    assert first != ids(writer, [1, 2], settings(seed=6))
    assert torch.equal(state, torch.get_rng_state())
    assert writer.training


def test_only_the_end_of_a_long_prompt_is_seen() -> None:
    long = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]
    assert (prompt_limit(model(), 3), prompt_limit(model(), 100)) == (13, 8)
    assert ids(model(), long, settings()) == ids(model(), long[-8:], settings())


def test_it_ends_at_the_mark_of_an_end() -> None:
    writer = model()
    whole = ids(writer, [1], settings(tokens=40))
    stop = whole[25]
    assert ids(writer, [1], settings(tokens=40, stop_tokens=(stop,))) == whole[: whole.index(stop)]
    assert isinstance(generate_text(model(vocabulary=257), byte_vocabulary(), "a", settings(tokens=20)), str)


def test_output_that_is_not_finite_is_named_not_drawn_from() -> None:
    broken = model()
    with torch.no_grad():
        broken.lm_head.weight[3] = torch.nan
    with pytest.raises(LogitsError, match="not finite"):
        ids(broken, [1], settings())


class Counter(GPT):
    """Counts: of the known token that is nearest on the left, it knows what stands where. Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__(Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=16), 10)
        self.shown: list[list[int]] = []

    def hidden_states(self, ids: Tensor) -> Tensor:
        row = ids[0].tolist()
        self.shown.append(row)
        expected = list(row)
        for at in range(1, len(row)):
            if row[at] == 10:
                expected[at] = (expected[at - 1] + 1) % 10
        return 50 * torch.nn.functional.one_hot(torch.tensor(expected), 10).float()[None]

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


def test_what_is_uncovered_stays_and_is_seen_from_then_on() -> None:
    model = Counter()
    drawn = ids(model, [5, 6, 7], settings(tokens=20))
    assert drawn == [(8 + number) % 10 for number in range(20)]
    assert [row.count(10) for row in model.shown] == [*range(13, 0, -1), *range(7, 0, -1)]
    assert {len(row) for row in model.shown} == {16}
