"""The order in which a masked model uncovers, how often it looks, and what stands behind its text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.weights import save_model
from core.recipe.sampling import Sampling, UnmaskingOrder
from core.recipe.schema import Model
from core.sample import diffusion
from core.sample.diffusion import ContextLengthError, DenoisedBlock, UnmaskingOptions, denoise, infill_context
from core.sample.generate import MaskedOnlyError, generate, truncate_to_context
from core.sample.handlers import handle
from core.sample.logits_processors import TokenSampler
from core.sample.models import ModelCache
from core.sample.protocol import AnyReply, DenoisingState, Generate, Loaded, TextDelta, TextEnded
from core.sample.samplers import LogitsError
from core.tokenize.characters import byte_vocabulary
from tests.core.generating import settings

ORDERS = get_args(UnmaskingOrder)
SIZE = 20
"""Entries of most vocabularies here."""


def model(vocabulary: int = SIZE, *, objective: str = "masked", block_size: int = 24) -> GPT:
    torch.manual_seed(1)
    shape = Model(objective=objective, n_layer=1, n_head=2, n_embd=16, block_size=block_size, zero_init=False)  # type: ignore[arg-type]
    made = GPT(shape, vocabulary)
    with torch.no_grad():
        made.lm_head.weight *= 20  # what it says is not all alike
    return made.eval()


def states(
    model: GPT, prompt: Sequence[int], sampling: Sampling, way: UnmaskingOptions | None, texts: int = 1
) -> list[tuple[int, int | DenoisedBlock]]:
    return list(generate(model, prompt, sampling, texts=texts, unmasking=way))


def written(model: GPT, prompt: Sequence[int], sampling: Sampling, way: UnmaskingOptions | None) -> list[int]:
    return [token for _, token in states(model, prompt, sampling, way) if isinstance(token, int)]


def slowly(model: GPT, prompt: list[int], sampling: Sampling, way: UnmaskingOptions) -> list[int]:
    """The same with nothing saved: one place after the other, of all scores of the whole text, in plain lists."""
    chain = TokenSampler(sampling, model.vocab_size, prompt=[*prompt, *way.suffix])
    text: list[int | None] = [*prompt, *[None] * sampling.tokens, *way.suffix]
    looks = min(way.denoising_steps, sampling.tokens)
    while looks:
        with torch.no_grad():
            ids = torch.tensor([[model.vocab_size if token is None else token for token in text]])
            scores = model(ids)[0]
        probabilities = torch.softmax(scores.double(), -1)
        hidden = [place for place, token in enumerate(text) if token is None]
        share = -(-len(hidden) // looks)
        candidates: dict[int, int] = {}
        if way.order == "random":
            hidden = [hidden[at] for at in torch.randperm(len(hidden), generator=chain.generator).tolist()]
        elif way.order == "entropy":
            hidden.sort(key=lambda place: -float((probabilities[place] * probabilities[place].log()).sum()))
        else:
            for place in hidden:
                candidates[place] = TokenSampler.propose(chain, scores[place])
            hidden.sort(key=lambda place: -float(probabilities[place, candidates[place]]))
        fresh: list[int] = []
        for place in hidden[:share]:
            again = candidates.get(place) in fresh and sampling.frequency_penalty
            token = candidates[place] if place in candidates and not again else chain.propose(scores[place])
            chain.record(token)
            text[place] = token
            fresh.append(token)
        looks -= 1
    return [token for token in text[len(prompt) : len(prompt) + sampling.tokens] if token is not None]


@pytest.mark.parametrize("penalty", [0.0, 1.5])
@pytest.mark.parametrize("suffix", [(), (7, 8, 9)])
@pytest.mark.parametrize("looks", [1, 5, 64])
@pytest.mark.parametrize("order", ORDERS)
def test_it_writes_what_the_slow_version_writes(
    order: UnmaskingOrder, looks: int, suffix: tuple[int, ...], penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, way = model(), UnmaskingOptions(suffix, order, looks)
    sampling = settings(frequency_penalty=penalty, top_k=8)
    expected = slowly(writer, [3, 1], sampling, way)
    assert len(expected) == 12 and max(expected) < SIZE
    assert written(writer, [3, 1], sampling, way) == expected
    monkeypatch.setattr(diffusion, "_LOGITS_AT_ONCE", 5 * SIZE)  # however many scores are computed at a time
    assert written(writer, [3, 1], sampling, way) == expected


@pytest.mark.parametrize("looks", [1, 5, 64])
@pytest.mark.parametrize("order", ORDERS)
def test_each_place_is_uncovered_once_and_stays_until_the_stretch_is_the_text(
    order: UnmaskingOrder, looks: int
) -> None:
    made = [said for _, said in states(model(), [3], settings(), UnmaskingOptions(order=order, denoising_steps=looks))]
    seen = [said for said in made if isinstance(said, DenoisedBlock)]
    assert len(seen) == min(looks, 12)
    before: tuple[int | None, ...] = (None,) * 12
    for state in seen:
        changed = {at for at, (old, new) in enumerate(zip(before, state.ids, strict=True)) if old != new}
        assert changed == set(state.unmasked) and all(before[at] is None for at in changed)
        before = state.ids
    assert list(before) == [said for said in made if isinstance(said, int)]
    sizes = [len(state.unmasked) for state in seen]
    assert sum(sizes) == 12 and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("order", ORDERS)
def test_a_long_text_is_written_stretch_by_stretch(order: UnmaskingOrder) -> None:
    made = [
        said for _, said in states(model(), [3], settings(tokens=40), UnmaskingOptions(order=order, denoising_steps=2))
    ]
    stretches = [said for said in made if isinstance(said, DenoisedBlock) and None not in said.ids]
    assert [len(stretch.ids) for stretch in stretches] == [23, 12, 5]
    assert [token for stretch in stretches for token in stretch.ids] == [said for said in made if isinstance(said, int)]


@pytest.mark.parametrize("order", ORDERS)
def test_text_number_i_is_the_one_of_the_seed_plus_i(order: UnmaskingOrder) -> None:
    way = UnmaskingOptions((5,), order, 4)
    together = states(model(), [3], settings(), way, texts=3)
    for text in range(3):
        alone = states(model(), [3], settings(seed=5 + text), way)
        assert [said for number, said in together if number == text] == [said for _, said in alone]


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_what_one_place_has_is_dear_for_the_others_of_the_same_look(
    penalty: str, order: UnmaskingOrder, looks: int
) -> None:
    drawn = written(
        model(), [3], settings(temperature=0, **{penalty: 100.0}), UnmaskingOptions(order=order, denoising_steps=looks)
    )
    assert len(set(drawn)) == 12


class Certain(GPT):
    """Sure of its token to a degree that differs from place to place; the token is the place."""

    DEGREES = (3.0, 9.0, 1.0, 7.0, 5.0, 2.0, 8.0, 4.0, 6.0)

    def __init__(self) -> None:
        super().__init__(Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=10), 10)
        self.most = 0
        """Scores asked for at once."""

    def hidden_states(self, ids: Tensor) -> Tensor:
        known = torch.tensor([0.0, *self.DEGREES])
        return (known[:, None] * torch.nn.functional.one_hot(torch.arange(10), 10))[None]

    def logits(self, hidden: Tensor) -> Tensor:
        self.most = max(self.most, hidden.numel())
        return hidden


@pytest.mark.parametrize("temperature", [0.0, 1e-3])
@pytest.mark.parametrize("order", ["confidence", "entropy"])
def test_where_the_model_is_surest_is_uncovered_first_whatever_the_samplers_do(
    order: UnmaskingOrder, temperature: float
) -> None:
    sampling = settings(tokens=9, temperature=temperature, top_k=1)
    made = [said for _, said in states(Certain(), [0], sampling, UnmaskingOptions(order=order, denoising_steps=9))]
    firsts = [said.unmasked[0] for said in made if isinstance(said, DenoisedBlock)]
    assert firsts == sorted(range(9), key=lambda place: -Certain.DEGREES[place])


@pytest.mark.parametrize("order", ORDERS)
def test_scores_are_computed_a_bounded_number_at_a_time(order: UnmaskingOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "_LOGITS_AT_ONCE", 25)
    certain = Certain()
    assert len(written(certain, [0], settings(tokens=9), UnmaskingOptions(order=order, denoising_steps=1))) == 9
    assert certain.most == 20


class Echo(GPT):
    """Says at each place what is known nearest to the right, and 0 where there is nothing."""

    def __init__(self, block_size: int = 16) -> None:
        super().__init__(Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=block_size), 10)

    def hidden_states(self, ids: Tensor) -> Tensor:
        nearest, said = 0, []
        for token in reversed(ids[0].tolist()):
            nearest = nearest if token == 10 else token
            said.append(nearest)
        return 50 * torch.nn.functional.one_hot(torch.tensor(said[::-1]), 10).float()[None]

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


@pytest.mark.parametrize("order", ORDERS)
def test_the_suffix_is_seen(order: UnmaskingOrder) -> None:
    assert written(Echo(), [3], settings(tokens=6), UnmaskingOptions(order=order)) == [0] * 6
    assert written(Echo(), [3], settings(tokens=6), UnmaskingOptions((7, 8), order)) == [7] * 6


def test_prompt_and_suffix_have_half_of_the_room_each_and_what_the_other_does_not_need() -> None:
    writer, long = Echo(), list(range(100, 200))
    assert infill_context(writer, long, long, 6) == (long[-5:], long[:5])
    assert infill_context(writer, long, long, 5) == (long[-6:], long[:5])
    assert infill_context(writer, long[:2], long, 6) == (long[:2], long[:8])
    assert infill_context(writer, long, long[:3], 6) == (long[-7:], long[:3])
    assert infill_context(writer, long[:4], long[:5], 6) == (long[:4], long[:5])
    assert infill_context(writer, long, long, 14) == (long[-1:], long[:1])
    for tokens in (15, 16, 1000):
        with pytest.raises(
            ContextLengthError, match=f"{tokens:,} tokens and the text before and after them do not fit"
        ) as error:
            infill_context(writer, long, long, tokens)
        assert error.value.todo == "ask for at most 14 tokens"


@pytest.mark.parametrize("order", ORDERS)
def test_output_that_is_not_finite_is_named(order: UnmaskingOrder) -> None:
    broken = model()
    with torch.no_grad():
        broken.lm_head.weight[3] = torch.nan
    with pytest.raises(LogitsError, match="not finite"):
        written(broken, [1], settings(), UnmaskingOptions(order=order))


def test_a_causal_model_refuses_what_only_a_masked_one_can_do() -> None:
    with pytest.raises(MaskedOnlyError, match="only a masked model can fill a middle"):
        truncate_to_context(model(objective="causal"), [1], 5, UnmaskingOptions((2,)))
    with pytest.raises(MaskedOnlyError):
        generate(model(objective="causal"), [1], settings(), unmasking=UnmaskingOptions())


def test_nothing_is_looked_at_before_it_is_asked_for() -> None:
    writer = model()
    looks = denoise(writer, [1], TokenSampler(settings(), SIZE), tokens=12, options=UnmaskingOptions())
    assert next(looks).ids.count(None) == 11
    looks.close()


# -- as the inference process answers ----------------------------------------------------------------------------------


def saved(folder: Path, objective: str) -> str:
    path = folder / f"{objective}-step-00000007"
    path.mkdir()
    save_model(model(257, objective=objective), path)
    byte_vocabulary().save(path / "vocabulary.json")
    return str(path)


@pytest.fixture
def masked(tmp_path: Path) -> str:
    return saved(tmp_path, "masked")


def asked(checkpoint: str, **request: object) -> list[AnyReply | None]:
    return list(handle(Generate(id=1, checkpoint=checkpoint, **{"prompt": "ab", **request}), ModelCache()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "option", [{"suffix": "x"}, {"order": "random"}, {"denoising_steps": 3}, {"denoising_states": True}]
)
def test_each_option_that_does_nothing_with_a_causal_model_is_refused(
    tmp_path: Path, option: dict[str, object]
) -> None:
    with pytest.raises(MaskedOnlyError):
        asked(saved(tmp_path, "causal"), **option)


def test_states_are_sent_where_wanted_and_the_text_is_the_same_without_them(masked: str) -> None:
    request = {
        "sampling": Sampling(tokens=30, seed=3, logit_bias={256: -1000}),
        "denoising_steps": 4,
        "order": "confidence",
    }
    with_states, without = asked(masked, denoising_states=True, **request), asked(masked, **request)
    assert not any(isinstance(reply, DenoisingState) for reply in without)
    assert [r for r in with_states if isinstance(r, TextDelta)] == [r for r in without if isinstance(r, TextDelta)]
    shown = [reply.tokens for reply in with_states if isinstance(reply, DenoisingState)]
    assert shown == [6, 12, 17, 22, 24, 26, 28, 30]
    # cancelling has its chance after every look
    assert sum(reply is None for reply in without) >= 8


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(4))
def test_the_last_state_before_a_text_shows_what_it_brings(masked: str, seed: int, order: str) -> None:
    replies = asked(
        masked,
        denoising_states=True,
        order=order,
        denoising_steps=3,
        suffix="é",
        sampling=Sampling(tokens=16, seed=seed, top_k=0),
    )
    told = [reply for reply in replies if reply is not None]
    last = [reply for reply in told if isinstance(reply, DenoisingState)][-1]
    assert all(not span.masked for span in last.spans)
    assert "".join(span.text for span in last.spans) == "".join(r.text for r in told if isinstance(r, TextDelta))
    assert isinstance(told[-1], TextEnded)
    for before, after in pairwise(reply for reply in told if isinstance(reply, DenoisingState)):
        assert sum(span.masked for span in after.spans) <= sum(span.masked for span in before.spans)


def test_what_of_prompt_and_suffix_is_dropped_is_said(masked: str) -> None:
    answered = asked(masked, prompt="p" * 30, suffix="s" * 50, sampling=Sampling(tokens=4))
    loaded = next(reply for reply in answered if reply is not None)
    assert isinstance(loaded, Loaded)
    assert (loaded.prompt_tokens, loaded.dropped_tokens) == (30, 20)
    assert (loaded.suffix_tokens, loaded.dropped_suffix_tokens) == (50, 40)
    with pytest.raises(ContextLengthError):
        asked(masked, suffix="s", sampling=Sampling(tokens=24))
