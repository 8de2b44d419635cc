"""With what has been read kept, a model says what it says when it reads everything anew."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.model.gpt import GPT
from core.model.inference import inference
from core.recipe.sampling import Sampling
from core.recipe.schema import Model
from core.sample.kv_decoder import KVDecoder, tokens_kept_when_full
from core.sample.samplers import LogitsError
from tests.core.generating import ids, settings

SHAPES = {
    "learned": Model(n_layer=2, n_head=4, n_embd=32, block_size=48, positions="learned", norm="layer", bias=True,
                     activation="gelu", qk_norm=False, zero_init=False),
    "rotary": Model(n_layer=2, n_head=4, n_embd=32, block_size=48, zero_init=False),
    "grouped": Model(n_layer=2, n_head=4, n_kv_head=2, n_embd=32, block_size=48, zero_init=False, activation="swiglu"),
}  # fmt: skip

EITHER = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def made(shape: Model, vocabulary: int = 50) -> GPT:
    torch.manual_seed(2)
    return GPT(shape, vocabulary)


def slow(model: GPT, text: list[int], prompt: int) -> Tensor:
    """Scores (vocabulary,) behind `text`, whose first `prompt` ids were there at once, with nothing kept.

    When the context is full, its newest half begins a new one.
    """
    most = model.config.block_size
    begin = max(0, prompt - most)
    for end in range(prompt, len(text)):
        if end - begin == most:
            begin = end + 1 - tokens_kept_when_full(most)
    with inference(model):
        return model(torch.tensor([text[begin:]]))[0, -1]


@EITHER
@pytest.mark.parametrize("prompt", [1, 5, 33, 47, 48, 60])
@pytest.mark.parametrize("piece", [32, 128])
def test_it_says_what_reading_anew_would_say_past_the_edge_of_the_context_too(
    shape: Model, prompt: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "core.sample.kv_decoder.PREFILL_CHUNK", piece
    )  # a context of 48 is read in two pieces, or in one
    model = made(shape)
    text = torch.randint(50, (prompt,), generator=torch.Generator().manual_seed(prompt)).tolist()
    reader = KVDecoder(model, text)
    for number in range(100):
        expected = slow(model, text, prompt)
        assert torch.allclose(reader.logits[0], expected, atol=1e-5)
        assert int(reader.logits[0].argmax()) == int(expected.argmax())
        token = (number * 7 + int(expected.argmax())) % 50
        text.append(token)
        reader.append([token])


@EITHER
def test_texts_read_together_are_those_read_alone(shape: Model) -> None:
    model, prompt = made(shape), [3, 1, 4, 1, 5]
    together = KVDecoder(model, prompt)
    together.select([0, 0, 0])
    alone = [KVDecoder(model, prompt) for _ in range(3)]
    for number in range(60):
        tokens = [(number * factor) % 50 for factor in (1, 3, 7)]
        together.append(tokens)
        for row, reader in enumerate(alone):
            reader.append([tokens[row]])
            assert torch.allclose(together.logits[row], reader.logits[0], atol=1e-5)
    together.select([2, 0])
    together.append([1, 2])
    for row, (reader, token) in enumerate(zip((alone[2], alone[0]), (1, 2), strict=True)):
        reader.append([token])
        assert torch.allclose(together.logits[row], reader.logits[0], atol=1e-5)


def test_a_long_prompt_is_read_in_pieces_between_which_others_get_their_turn() -> None:
    shape = Model(n_layer=1, n_head=2, n_embd=16, block_size=400, zero_init=False)
    model, text = made(shape), [token % 50 for token in range(390)]
    reading = KVDecoder.prefill(model, text)
    turns = 0
    while True:
        try:
            next(reading)
            turns += 1
        except StopIteration as end:
            reader = end.value
            break
    assert turns == 3
    assert torch.allclose(reader.logits[0], slow(model, text, 390), atol=1e-5)


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_smallest_contexts_will_do(block_size: int) -> None:
    shape = Model(n_layer=1, n_head=1, n_embd=8, block_size=block_size, zero_init=False)
    model, text = made(shape), [1]
    reader = KVDecoder(model, text)
    for token in range(10):
        assert torch.allclose(reader.logits[0], slow(model, text, 1), atol=1e-5)
        text.append(token)
        reader.append([token])


@EITHER
@pytest.mark.parametrize("sampling", [settings(tokens=80, temperature=0.0), settings(tokens=80, temperature=1.5)])
def test_a_batch_of_texts_is_as_many_single_ones_with_their_seeds(shape: Model, sampling: Sampling) -> None:
    from msgspec.structs import replace

    from core.sample.generate import generate

    model = made(shape)
    found: list[list[int]] = [[], [], [], []]
    for text, token in generate(model, [3, 1, 4], sampling, texts=4):
        found[text].append(token)
    assert found == [ids(model, [3, 1, 4], replace(sampling, seed=sampling.seed + text)) for text in range(4)]
    assert all(len(text) == 80 for text in found)


def test_a_text_that_has_ended_leaves_the_others_as_they_are() -> None:
    from core.sample.generate import generate

    model = made(SHAPES["rotary"])
    whole: list[list[int]] = [[], [], []]
    for text, token in generate(model, [3], settings(tokens=60), texts=3):
        whole[text].append(token)
    found: list[list[int]] = [[], [], []]
    drawing = generate(model, [3], settings(tokens=60), texts=3)
    over: bool | None = None
    with pytest.raises(StopIteration):
        while True:
            text, token = drawing.send(over)
            found[text].append(token)
            over = text == 1 and len(found[1]) == 7
    assert found == [whole[0], whole[1][:7], whole[2]]


def test_a_model_that_trains_in_bfloat16_is_read_in_float32() -> None:
    short, exact = made(SHAPES["grouped"]), made(SHAPES["grouped"])
    short.dtype = torch.bfloat16
    sampling = settings(tokens=80)
    assert ids(short, [3, 1], sampling) == ids(exact, [3, 1], sampling)
    assert short.dtype == torch.bfloat16


def test_scores_that_are_not_finite_are_named() -> None:
    model = made(SHAPES["rotary"])
    with torch.no_grad():
        model.wte.weight[7] = torch.nan
    reader = KVDecoder(model, [1])
    with pytest.raises(LogitsError, match="not finite"):
        reader.append([7])
