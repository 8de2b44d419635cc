"""Figures published for the same models, to the last digit: nanoGPT, llm.c, the hub, and the book."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from core.model.gpt import GPT, MLP, SelfAttention
from core.model.weights import meta_device
from core.recipe.file import load
from core.recipe.schema import Model
from core.sample.kv_decoder import KVDecoder
from core.sample.score import token_losses
from core.tokenize.vocabulary import Vocabulary
from tests.core.gpt2_folders import copy_gpt2
from tests.core.stages import return_value
from tests.core.untrained_gpt2 import random_gpt2

SHARED = Path(__file__).parents[3] / "shared"
GPT2, BOOK = load(preset="gpt2").model, load(preset="book").model
PLAIN = msgspec.structs.replace(GPT2, bias=False)
"""nanoGPT's default."""
CHARACTERS = msgspec.structs.replace(PLAIN, n_layer=6, n_head=6, n_embd=384, block_size=256)
"""nanoGPT's config/train_shakespeare_char.py."""


def on_meta_device(shape: Model, vocabulary: int = 50257) -> GPT:
    """The model on the meta device, without memory for its weights."""
    with meta_device():
        return GPT(shape, vocabulary)


def count(shape: Model, vocabulary: int = 50257, positions: bool = True) -> int:
    model = on_meta_device(shape, vocabulary)
    assert model.wpe is not None
    return model.parameter_count() - (0 if positions else model.wpe.weight.numel())


def test_gpt2_has_the_parameter_count_of_other_implementations() -> None:
    assert count(GPT2) == 124_439_808  # llm.c num_parameters; openai-community/gpt2
    assert count(PLAIN) == 124_337_664  # nanoGPT transformer_sizing.ipynb
    padded = msgspec.structs.replace(PLAIN, pad_vocabulary_multiple=64)
    assert count(padded, positions=False) == 123_587_328  # nanoGPT prints 123.59M


@pytest.mark.heavy
def test_the_books_model_has_the_books_parameter_count() -> None:
    assert count(BOOK) == 163_009_536  # chapter 4
    assert count(msgspec.structs.replace(BOOK, block_size=256)) == 162_419_712  # chapter 5
    assert count(msgspec.structs.replace(BOOK, tie_embeddings=True)) == 124_412_160  # chapter 4
    assert f"{4 * count(BOOK) / 2**20:.2f}" == "621.83"  # MB in float32, chapter 4
    sizes = {kind: sum(p.numel() for p in kind(BOOK).parameters()) for kind in (MLP, SelfAttention)}
    assert sizes == {MLP: 4_722_432, SelfAttention: 2_360_064}  # exercise 4.1


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("preset", "untied", "tied"),
    [
        ("gpt2-medium", 406_212_608, 354_749_440),
        ("gpt2-large", 838_220_800, 773_891_840),
        ("gpt2-xl", 1_637_792_000, 1_557_380_800),
    ],
)
def test_larger_models_have_the_parameter_counts_of_exercise_4_2(preset: str, untied: int, tied: int) -> None:
    shape = msgspec.structs.replace(load(preset=preset).model, qkv_bias=False)
    assert count(msgspec.structs.replace(shape, tie_embeddings=False)) == untied
    assert count(shape) == tied


@pytest.mark.heavy
def test_larger_presets_have_the_shapes_on_the_hub() -> None:
    sizes = {name: count(load(preset=name).model) for name in ("gpt2-medium", "gpt2-large", "gpt2-xl")}
    assert sizes == {"gpt2-medium": 354_823_168, "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200}


def test_character_models_have_the_sizes_of_nanogpt() -> None:
    assert count(CHARACTERS, 65, positions=False) == 10_646_784  # it prints 10.65M
    small = msgspec.structs.replace(PLAIN, n_layer=4, n_head=4, n_embd=128, block_size=64)
    assert count(small, 65, positions=False) == 795_904  # it prints 0.80M
    assert count(small, 65) == 804_096


@pytest.mark.heavy
def test_forward_flops_equal_nanogpts_notebook() -> None:
    counter = FlopCounterMode(display=False)
    with counter:
        on_meta_device(PLAIN)(torch.zeros(1, 1024, dtype=torch.int64, device="meta"))
    assert counter.get_total_flops() == 291_648_307_200  # transformer_sizing.ipynb, forward_total


def test_palm_estimate_equals_nanogpts() -> None:
    def palm(shape: Model) -> int:  # arXiv 2204.02311, appendix B; nanoGPT excludes the position embeddings
        return 6 * count(shape, positions=False) + 12 * shape.n_layer * shape.n_embd * shape.block_size

    assert 1024 * palm(PLAIN) == 875_062_886_400  # transformer_sizing.ipynb
    assert palm(msgspec.structs.replace(PLAIN, pad_vocabulary_multiple=64)) == 854_770_176  # estimate_mfu, per token


@pytest.mark.parametrize(
    ("vocabulary", "nats"),
    [
        (65, 4.1744),
        (256, 5.5452),
        (4096, 8.3178),
        (8192, 9.0109),
        (32768, 10.3972),
        (50257, 10.8249),
        (50304, 10.8258),  # modded-nanogpt's log of track 3 prints 10.82584
    ],
)
def test_a_zero_head_has_a_loss_of_log_vocab_size(vocabulary: int, nats: float) -> None:
    torch.manual_seed(1)
    model = GPT(Model(n_layer=1, n_head=1, n_embd=8, block_size=16), vocabulary)
    ids = torch.randint(vocabulary, (2, 16))
    loss = model.loss(ids, torch.randint(vocabulary, (2, 16))).nats.item() / ids.numel()
    assert loss == pytest.approx(math.log(vocabulary), abs=1e-4)
    assert loss == pytest.approx(nats, abs=1e-4)


@pytest.mark.heavy
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the reference texts are missing")
def test_untrained_character_model_has_nanogpts_initial_loss() -> None:
    text = (SHARED / "data" / "tinyshakespeare.txt").read_text()
    token_id = {character: index for index, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([token_id[character] for character in text])
    train, validation = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]
    torch.manual_seed(1337)
    model = GPT(CHARACTERS, 65).eval()
    for part, nats in ((train, 4.2326), (validation, 4.2303)):  # nanoGPT issue 28
        starts = torch.randint(len(part) - 256, (8,))
        batch = torch.stack([part[start : start + 257] for start in starts])
        with torch.no_grad():
            loss = model.loss(batch[:, :-1], batch[:, 1:]).nats.item() / (8 * 256)
        assert loss == pytest.approx(nats, abs=0.02)


def untrained_book_model(shape: Model) -> GPT:
    """The book's untrained model, converted as published weights are."""
    model = on_meta_device(shape).to_empty(device="cpu").eval()
    copy_gpt2(model, random_gpt2(shape, 50257))
    return model


@pytest.mark.heavy
def test_the_books_untrained_model_generates_the_books_text() -> None:
    model = untrained_book_model(BOOK)
    # LLMs-from-scratch, pkg/llms_from_scratch/tests/test_ch04.py
    expected = [27018, 24086, 47843, 30961, 42348, 7267, 49706, 43231, 47062, 34657]
    ids = [15496, 11, 314, 716]  # "Hello, I am"
    decoder = KVDecoder(model, ids)
    with torch.no_grad():
        for token in expected:
            last = model.hidden_states(torch.tensor([ids]))[0, -1]
            ids.append(int(model.logits(last).argmax()))
            assert int(decoder.logits.argmax()) == token
            decoder.append([token])
    assert ids[4:] == expected


@pytest.mark.heavy
def test_the_books_untrained_model_has_the_books_perplexity() -> None:
    model = untrained_book_model(msgspec.structs.replace(BOOK, block_size=256))
    # chapter 5: "every effort moves you" and "I really like chocolate"
    texts = [[16833, 3626, 6100, 345], [40, 1107, 588, 11311]]
    loss = sum(part.nats for ids in texts for part in token_losses(model, ids)) / 6
    assert loss == pytest.approx(10.7940, abs=5e-5)
    assert math.exp(loss) == pytest.approx(48725.82, abs=0.1)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "tiktoken-cache").is_dir(), reason="GPT-2's vocabulary is missing")
def test_the_books_untrained_model_has_the_books_loss_on_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.processes.progress import ProgressMeter
    from core.tokenize.encodings import load_encoding

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(SHARED / "tiktoken-cache"))
    vocabulary: Vocabulary = return_value(load_encoding("gpt2", ProgressMeter(None)))
    model = untrained_book_model(msgspec.structs.replace(BOOK, block_size=256))
    text = (SHARED / "data" / "the-verdict.txt").read_text()
    boundary = int(0.9 * len(text))
    for part, nats in ((text[:boundary], 10.98758), (text[boundary:], 10.98111)):  # chapter 5, on a CPU
        ids = torch.tensor(vocabulary.encode(part))
        windows = torch.stack([ids[start : start + 257] for start in range(0, len(ids) - 256, 256)])
        with torch.no_grad():
            losses = [
                model.loss(pair[:, :-1], pair[:, 1:]).nats.item() / 512 for pair in windows.split(2) if len(pair) == 2
            ]
        assert sum(losses) / len(losses) == pytest.approx(nats, abs=1e-5)


def test_a_muon_step_is_orthogonal_and_equals_torchs() -> None:
    """Five Newton-Schulz iterations bring singular values near 1 (Jordan 2024: into 0.7 to 1.2)."""
    from core.recipe.schema import Train
    from core.train.optimizer import optimizers

    torch.manual_seed(1)
    shape = Model(n_layer=1, n_head=2, n_embd=32, block_size=8)
    model = GPT(shape, 50)
    recipe = Train(muon_iterations=5, muon_lr=0.02, lr=1e-3)
    weight = model.h[0].attn.c_attn.weight  # type: ignore[union-attr]
    assert isinstance(weight, torch.nn.Parameter)
    reference = torch.nn.Parameter(weight.detach().clone())
    theirs = torch.optim.Muon([reference], lr=0.02, weight_decay=0.0, ns_steps=5)
    before = weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert weight.grad is not None
    reference.grad = weight.grad.clone()
    for optimizer in optimizers(model, recipe):
        optimizer.step()
    theirs.step()
    assert torch.allclose(weight, reference, atol=1e-6)
    step = (before - weight.detach()) / (0.02 * math.sqrt(max(1, weight.shape[0] / weight.shape[1])))
    values = torch.linalg.svdvals(step.float())
    assert values.min() > 0.6
    assert values.max() < 1.3
