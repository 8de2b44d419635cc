"""Generation with a masked model: order of unmasking, denoising steps, suffixes."""

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
"""Vocabulary size of most models here."""


def model(vocabulary: int = SIZE, *, objective: str = "masked", block_size: int = 24) -> GPT:
    torch.manual_seed(1)
    shape = Model(objective=objective, n_layer=1, n_head=2, n_embd=16, block_size=block_size, zero_init=False)  # type: ignore[arg-type]
    gpt = GPT(shape, vocabulary)
    with torch.no_grad():
        gpt.lm_head.weight *= 20  # so that its logits differ clearly
    return gpt.eval()


def generate_events(
    model: GPT, prompt: Sequence[int], sampling: Sampling, options: UnmaskingOptions | None, texts: int = 1
) -> list[tuple[int, int | DenoisedBlock]]:
    events = generate(model, prompt, sampling, texts=texts, unmasking=options)
    return [event for event in events if event is not None]


def generate_text_ids(
    model: GPT, prompt: Sequence[int], sampling: Sampling, options: UnmaskingOptions | None
) -> list[int]:
    return [token for _, token in generate_events(model, prompt, sampling, options) if isinstance(token, int)]


def generate_slowly(model: GPT, prompt: list[int], sampling: Sampling, options: UnmaskingOptions) -> list[int]:
    """The same, position by position with the logits of the whole text, in plain lists."""
    sampler = TokenSampler(sampling, model.vocab_size, prompt=[*prompt, *options.suffix])
    text: list[int | None] = [*prompt, *[None] * sampling.tokens, *options.suffix]
    steps = min(options.denoising_steps, sampling.tokens)
    while steps:
        with torch.no_grad():
            ids = torch.tensor([[model.vocab_size if token is None else token for token in text]])
            logits = model(ids)[0]
        probabilities = torch.softmax(logits.double(), -1)
        masked_positions = [position for position, token in enumerate(text) if token is None]
        count = -(-len(masked_positions) // steps)
        candidates: dict[int, int] = {}
        if options.order == "random":
            masked_positions = [
                masked_positions[index]
                for index in torch.randperm(len(masked_positions), generator=sampler.generator).tolist()
            ]
        elif options.order == "entropy":
            masked_positions.sort(
                key=lambda position: -float((probabilities[position] * probabilities[position].log()).sum())
            )
        else:
            for position in masked_positions:
                candidates[position] = TokenSampler.propose(sampler, logits[position])
            masked_positions.sort(key=lambda position: -float(probabilities[position, candidates[position]]))
        new_tokens: list[int] = []
        for position in masked_positions[:count]:
            resample = candidates.get(position) in new_tokens and sampling.frequency_penalty
            token = (
                candidates[position] if position in candidates and not resample else sampler.propose(logits[position])
            )
            sampler.record(token)
            text[position] = token
            new_tokens.append(token)
        steps -= 1
    return [token for token in text[len(prompt) : len(prompt) + sampling.tokens] if token is not None]


@pytest.mark.parametrize("penalty", [0.0, 1.5])
@pytest.mark.parametrize("suffix", [(), (7, 8, 9)])
@pytest.mark.parametrize("steps", [1, 5, 64])
@pytest.mark.parametrize("order", ORDERS)
def test_generation_matches_a_slow_implementation(
    order: UnmaskingOrder, steps: int, suffix: tuple[int, ...], penalty: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpt, options = model(), UnmaskingOptions(suffix, order, steps)
    sampling = settings(frequency_penalty=penalty, top_k=8)
    expected = generate_slowly(gpt, [3, 1], sampling, options)
    assert len(expected) == 12 and max(expected) < SIZE
    assert generate_text_ids(gpt, [3, 1], sampling, options) == expected
    monkeypatch.setattr(diffusion, "_LOGITS_AT_ONCE", 5 * SIZE)  # independent of the chunk size
    assert generate_text_ids(gpt, [3, 1], sampling, options) == expected


@pytest.mark.parametrize("steps", [1, 5, 64])
@pytest.mark.parametrize("order", ORDERS)
def test_each_position_is_unmasked_once_and_then_unchanged(order: UnmaskingOrder, steps: int) -> None:
    events = [
        event
        for _, event in generate_events(model(), [3], settings(), UnmaskingOptions(order=order, denoising_steps=steps))
    ]
    blocks = [event for event in events if isinstance(event, DenoisedBlock)]
    assert len(blocks) == min(steps, 12)
    previous: tuple[int | None, ...] = (None,) * 12
    for state in blocks:
        changed = {index for index, (old, new) in enumerate(zip(previous, state.ids, strict=True)) if old != new}
        assert changed == set(state.unmasked) and all(previous[index] is None for index in changed)
        previous = state.ids
    assert list(previous) == [event for event in events if isinstance(event, int)]
    sizes = [len(state.unmasked) for state in blocks]
    assert sum(sizes) == 12 and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("order", ORDERS)
def test_a_long_text_is_generated_block_by_block(order: UnmaskingOrder) -> None:
    events = [
        event
        for _, event in generate_events(
            model(), [3], settings(tokens=40), UnmaskingOptions(order=order, denoising_steps=2)
        )
    ]
    blocks = [event for event in events if isinstance(event, DenoisedBlock) and None not in event.ids]
    assert [len(block.ids) for block in blocks] == [23, 12, 5]
    assert [token for block in blocks for token in block.ids] == [event for event in events if isinstance(event, int)]


@pytest.mark.parametrize("order", ORDERS)
def test_text_i_of_several_uses_seed_plus_i(order: UnmaskingOrder) -> None:
    options = UnmaskingOptions((5,), order, 4)
    together = generate_events(model(), [3], settings(), options, texts=3)
    for text in range(3):
        alone = generate_events(model(), [3], settings(seed=5 + text), options)
        assert [event for number, event in together if number == text] == [event for _, event in alone]


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("penalty", ["presence_penalty", "frequency_penalty"])
def test_penalties_apply_to_tokens_of_the_same_denoising_step(penalty: str, order: UnmaskingOrder, steps: int) -> None:
    ids = generate_text_ids(
        model(), [3], settings(temperature=0, **{penalty: 100.0}), UnmaskingOptions(order=order, denoising_steps=steps)
    )
    assert len(set(ids)) == 12


class Certain(GPT):
    """Predicts the position as the token, with a confidence that depends on the position."""

    DEGREES = (3.0, 9.0, 1.0, 7.0, 5.0, 2.0, 8.0, 4.0, 6.0)

    def __init__(self) -> None:
        super().__init__(Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=10), 10)
        self.most = 0
        """Largest number of logits computed at once."""

    def hidden_states(self, ids: Tensor) -> Tensor:
        known = torch.tensor([0.0, *self.DEGREES])
        return (known[:, None] * torch.nn.functional.one_hot(torch.arange(10), 10))[None]

    def logits(self, hidden: Tensor) -> Tensor:
        self.most = max(self.most, hidden.numel())
        return hidden


@pytest.mark.parametrize("temperature", [0.0, 1e-3])
@pytest.mark.parametrize("order", ["confidence", "entropy"])
def test_the_most_certain_positions_are_unmasked_first_with_any_sampler(
    order: UnmaskingOrder, temperature: float
) -> None:
    sampling = settings(tokens=9, temperature=temperature, top_k=1)
    events = [
        event
        for _, event in generate_events(Certain(), [0], sampling, UnmaskingOptions(order=order, denoising_steps=9))
    ]
    firsts = [event.unmasked[0] for event in events if isinstance(event, DenoisedBlock)]
    assert firsts == sorted(range(9), key=lambda position: -Certain.DEGREES[position])


@pytest.mark.parametrize("order", ORDERS)
def test_logits_are_computed_in_chunks(order: UnmaskingOrder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusion, "_LOGITS_AT_ONCE", 25)
    gpt, options = Certain(), UnmaskingOptions(order=order, denoising_steps=1)
    assert len(generate_text_ids(gpt, [0], settings(tokens=9), options)) == 9
    assert gpt.most == 20


class Echo(GPT):
    """Predicts at each position the nearest known token to the right, 0 if there is none."""

    def __init__(self, block_size: int = 16) -> None:
        super().__init__(Model(objective="masked", n_layer=1, n_head=2, n_embd=16, block_size=block_size), 10)

    def hidden_states(self, ids: Tensor) -> Tensor:
        nearest, predictions = 0, []
        for token in reversed(ids[0].tolist()):
            nearest = nearest if token == 10 else token
            predictions.append(nearest)
        return 50 * torch.nn.functional.one_hot(torch.tensor(predictions[::-1]), 10).float()[None]

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden


@pytest.mark.parametrize("order", ORDERS)
def test_the_suffix_conditions_the_text(order: UnmaskingOrder) -> None:
    assert generate_text_ids(Echo(), [3], settings(tokens=6), UnmaskingOptions(order=order)) == [0] * 6
    assert generate_text_ids(Echo(), [3], settings(tokens=6), UnmaskingOptions((7, 8), order)) == [7] * 6


def test_prompt_and_suffix_share_the_context() -> None:
    gpt, long = Echo(), list(range(100, 200))
    assert infill_context(gpt, long, long, 6) == (long[-5:], long[:5])
    assert infill_context(gpt, long, long, 5) == (long[-6:], long[:5])
    assert infill_context(gpt, long[:2], long, 6) == (long[:2], long[:8])
    assert infill_context(gpt, long, long[:3], 6) == (long[-7:], long[:3])
    assert infill_context(gpt, long[:4], long[:5], 6) == (long[:4], long[:5])
    assert infill_context(gpt, long, long, 14) == (long[-1:], long[:1])
    for tokens in (15, 16, 1000):
        with pytest.raises(
            ContextLengthError, match=f"{tokens:,} tokens and the text before and after them do not fit"
        ) as error:
            infill_context(gpt, long, long, tokens)
        assert error.value.todo == "ask for at most 14 tokens"


@pytest.mark.parametrize("order", ORDERS)
def test_non_finite_logits_raise_an_error(order: UnmaskingOrder) -> None:
    broken = model()
    with torch.no_grad():
        broken.lm_head.weight[3] = torch.nan
    with pytest.raises(LogitsError, match="not finite"):
        generate_text_ids(broken, [1], settings(), UnmaskingOptions(order=order))


def test_a_causal_model_refuses_options_of_masked_models() -> None:
    with pytest.raises(MaskedOnlyError, match="only a masked model can fill a middle"):
        truncate_to_context(model(objective="causal"), [1], 5, UnmaskingOptions((2,)))
    with pytest.raises(MaskedOnlyError):
        generate(model(objective="causal"), [1], settings(), unmasking=UnmaskingOptions())


def test_denoising_is_lazy() -> None:
    gpt = model()
    steps = denoise(gpt, [1], TokenSampler(settings(), SIZE), tokens=12, options=UnmaskingOptions())
    assert next(steps).ids.count(None) == 11
    steps.close()


# -- replies of the inference process ----------------------------------------------------------------------------------


def save_untrained_model(folder: Path, objective: str) -> str:
    path = folder / f"{objective}-step-00000007"
    path.mkdir()
    save_model(model(257, objective=objective), path)
    byte_vocabulary().save(path / "vocabulary.json")
    return str(path)


@pytest.fixture
def masked(tmp_path: Path) -> str:
    return save_untrained_model(tmp_path, "masked")


def replies_to(checkpoint: str, **request: object) -> list[AnyReply | None]:
    return list(handle(Generate(id=1, checkpoint=checkpoint, **{"prompt": "ab", **request}), ModelCache()))  # type: ignore[arg-type]


@pytest.mark.heavy
@pytest.mark.parametrize(
    "option", [{"suffix": "x"}, {"order": "random"}, {"denoising_steps": 3}, {"denoising_states": True}]
)
def test_each_option_of_masked_models_is_refused_for_a_causal_model(tmp_path: Path, option: dict[str, object]) -> None:
    with pytest.raises(MaskedOnlyError):
        replies_to(save_untrained_model(tmp_path, "causal"), **option)


def test_denoising_states_are_sent_on_request_and_do_not_change_the_text(masked: str) -> None:
    request = {
        "sampling": Sampling(tokens=30, seed=3, logit_bias={256: -1000}),
        "denoising_steps": 4,
        "order": "confidence",
    }
    with_states, without = replies_to(masked, denoising_states=True, **request), replies_to(masked, **request)
    assert not any(isinstance(reply, DenoisingState) for reply in without)
    assert [r for r in with_states if isinstance(r, TextDelta)] == [r for r in without if isinstance(r, TextDelta)]
    states_shown = [reply.tokens for reply in with_states if isinstance(reply, DenoisingState)]
    assert states_shown == [6, 12, 17, 22, 24, 26, 28, 30]
    # can be cancelled after every denoising step
    assert sum(reply is None for reply in without) >= 8


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("seed", range(4))
def test_the_last_denoising_state_equals_the_text(masked: str, seed: int, order: str) -> None:
    replies = replies_to(
        masked,
        denoising_states=True,
        order=order,
        denoising_steps=3,
        suffix="é",
        sampling=Sampling(tokens=16, seed=seed, top_k=0),
    )
    replies_received = [reply for reply in replies if reply is not None]
    last = [reply for reply in replies_received if isinstance(reply, DenoisingState)][-1]
    assert all(not span.masked for span in last.spans)
    assert "".join(span.text for span in last.spans) == "".join(
        r.text for r in replies_received if isinstance(r, TextDelta)
    )
    assert isinstance(replies_received[-1], TextEnded)
    for previous, after in pairwise(reply for reply in replies_received if isinstance(reply, DenoisingState)):
        assert sum(span.masked for span in after.spans) <= sum(span.masked for span in previous.spans)


def test_dropped_tokens_of_prompt_and_suffix_are_reported(masked: str) -> None:
    replies = replies_to(masked, prompt="p" * 30, suffix="s" * 50, sampling=Sampling(tokens=4))
    loaded = next(reply for reply in replies if reply is not None)
    assert isinstance(loaded, Loaded)
    assert (loaded.prompt_tokens, loaded.dropped_tokens) == (30, 20)
    assert (loaded.suffix_tokens, loaded.dropped_suffix_tokens) == (50, 40)
    with pytest.raises(ContextLengthError):
        replies_to(masked, suffix="s", sampling=Sampling(tokens=24))


def test_log_probabilities_are_those_of_the_step_that_unmasked_each_token() -> None:
    gpt, prompt, sampling = model(), [3, 1], settings(tokens=6, temperature=0.5, top_k=4)
    logprobs: dict[int, float] = {}
    log_probabilities, ids = [], []
    generated = generate(gpt, prompt, sampling, unmasking=UnmaskingOptions(denoising_steps=1), logprobs=logprobs)
    for _, token in generated:
        if isinstance(token, int):
            ids.append(token)
            log_probabilities.append(logprobs[0])
    with torch.no_grad():
        logits = gpt(torch.tensor([[*prompt, *[gpt.vocab_size] * 6]]))[0, 2:]
    expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor(ids)[:, None])[:, 0]
    assert log_probabilities == pytest.approx(expected.tolist(), rel=1e-4)
