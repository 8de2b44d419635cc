"""Weights that others trained: the same logits as `transformers`, and words about what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import LlmtuiError
from core.events import Note
from core.model.gpt import GPT
from core.model.init_weights import start_from
from core.model.weights import save_model
from core.recipe.file import RecipeError, load
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.storage.artifact import write_directory
from core.storage.workspace import Workspace
from core.tokenize.encodings import byte_of_character
from core.tokenize.vocabulary import Vocabulary
from tests.core.drawing import ids as drawn
from tests.core.drawing import settings
from tests.core.gpt2_folders import SMALL, peer, written

BYTES = [bytes([byte]) for byte in range(256)]


def gpt2_like(size: int) -> Vocabulary:
    """Called gpt2, with so many entries: the tokens here are made up anyway."""
    return Vocabulary("gpt2", "", [*BYTES, *(f"<{n}>".encode() for n in range(size - 257))], kind="pairs")


VOCABULARY = gpt2_like(300)
SHAPE = msgspec.structs.replace(load(preset="gpt2").model, n_layer=2, n_head=2, n_embd=16, block_size=8)


def begun(folder: Path | str, workspace: Workspace, vocabulary: Vocabulary = VOCABULARY, **fields: Any) -> GPT:
    """A model of SHAPE with other fields, begun from `folder`."""
    shape = msgspec.structs.replace(SHAPE, init=str(folder), **fields)
    torch.manual_seed(5)
    model = GPT(shape, vocabulary.size).eval()
    for _ in start_from(shape, model, vocabulary, workspace):
        pass
    return model


def refused(folder: Path | str, workspace: Workspace, **more: Any) -> str:
    with pytest.raises(LlmtuiError) as caught:
        begun(folder, workspace, **more)
    return caught.value.sentence()


def same_scores(model: GPT, theirs: Any, length: int = 8) -> None:
    """The same logits, and the same text where always the likeliest token is taken."""
    ids = torch.randint(model.vocab_size, (2, length), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(model(ids), theirs(ids).logits, atol=1e-4)
        begin = ids[:1, : length // 2]
        text = theirs.generate(
            begin, attention_mask=torch.ones_like(begin), max_length=length, do_sample=False, eos_token_id=None
        )
    greedy = settings(tokens=length // 2, temperature=0.0)
    assert drawn(model, begin[0].tolist(), greedy) == text[0, length // 2 :].tolist()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tie_word_embeddings": False},
        {"n_layer": 3, "n_head": 4, "n_embd": 32},
        {"n_head": 1, "activation_function": "gelu_pytorch_tanh"},
    ],
    ids=str,
)
def test_scores_are_those_of_transformers(tmp_path: Path, workspace: Workspace, config: dict[str, Any]) -> None:
    theirs = written(tmp_path, vocab_size=300, **SMALL | config)
    fields = {name: value for name, value in config.items() if name.startswith("n_")}
    same_scores(begun(tmp_path, workspace, tied_head=config.get("tie_word_embeddings", True), **fields), theirs)


@pytest.mark.parametrize(
    ("size", "layers", "heads", "width", "count"),
    [
        ("gpt2", 12, 12, 768, 124_439_808),
        pytest.param("gpt2-medium", 24, 16, 1024, 354_823_168, marks=pytest.mark.slow),
        pytest.param("gpt2-large", 36, 20, 1280, 774_030_080, marks=pytest.mark.slow),
        pytest.param("gpt2-xl", 48, 25, 1600, 1_557_611_200, marks=pytest.mark.slow),
    ],
)
def test_scores_of_the_published_sizes_are_those_of_transformers(
    tmp_path: Path, workspace: Workspace, size: str, layers: int, heads: int, width: int, count: int
) -> None:
    shape = load(preset=size).model
    assert (shape.n_layer, shape.n_head, shape.n_embd) == (layers, heads, width)
    theirs = written(tmp_path, n_layer=layers, n_head=heads, n_embd=width)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == count
    with torch.device("meta"):
        model = GPT(msgspec.structs.replace(shape, init=str(tmp_path)), 50257).eval()
    model.to_empty(device="cpu")
    for _ in start_from(model.config, model, gpt2_like(50257), workspace):
        pass
    same_scores(model, theirs, 16)


@pytest.mark.parametrize("prefix", [True, False])
def test_older_files_with_masks_and_without_the_prefix_are_read(
    tmp_path: Path, workspace: Workspace, prefix: bool
) -> None:
    theirs = written(tmp_path, vocab_size=300, **SMALL)
    tensors = load_file(tmp_path / "model.safetensors")
    for layer in range(2):
        tensors[f"transformer.h.{layer}.attn.bias"] = torch.tril(torch.ones(1, 1, 8, 8))
        tensors[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"].clone()
    if not prefix:
        tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(tensors, tmp_path / "model.safetensors")
    same_scores(begun(tmp_path, workspace), theirs)


def test_weights_in_several_files_are_one_model(tmp_path: Path, workspace: Workspace) -> None:
    theirs = written(tmp_path, shard="12KB", vocab_size=300, **SMALL)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    same_scores(begun(tmp_path, workspace), theirs)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001", "../model-00001"))
    assert "names a file outside of its folder" in refused(tmp_path, workspace)


def test_what_can_be_had_from_the_weights_fits(tmp_path: Path, workspace: Workspace) -> None:
    theirs = written(tmp_path, vocab_size=300, **SMALL)
    same_scores(begun(tmp_path, workspace, block_size=4), theirs, 4)
    loose = begun(tmp_path, workspace, tied_head=False)
    same_scores(loose, theirs)
    assert loose.lm_head.weight is not loose.wte.weight


def warnings(folder: Path, workspace: Workspace, **fields: Any) -> list[str]:
    """Those on the way to a model of SHAPE with other fields, begun from `folder`."""
    shape = msgspec.structs.replace(SHAPE, init=str(folder), **fields)
    notes = start_from(shape, GPT(shape, VOCABULARY.size), VOCABULARY, workspace)
    return [note.text for note in notes if isinstance(note, Note) and note.level == "warning"]


def test_a_missing_head_is_the_embedding_only_where_the_weights_say_that_they_are_tied(
    tmp_path: Path, workspace: Workspace
) -> None:
    written(tmp_path, vocab_size=300, **SMALL)
    assert warnings(tmp_path, workspace) == []
    assert "begins as a copy of the embedding" in warnings(tmp_path, workspace, tied_head=False)[0]
    config = tmp_path / "config.json"
    told = config.read_text()
    config.write_text(json.dumps(json.loads(told) | {"tie_word_embeddings": False}))
    assert "but lm_head.weight is missing" in refused(tmp_path, workspace, tied_head=False)
    config.write_text(told)
    tensors = load_file(tmp_path / "model.safetensors")
    same = tensors["transformer.wte.weight"].clone()
    for head, said in ((same, 0), (same + 1, 1)):
        save_file(tensors | {"lm_head.weight": head}, tmp_path / "model.safetensors")
        assert len(warnings(tmp_path, workspace)) == said
        assert warnings(tmp_path, workspace, tied_head=False) == []


def test_rows_that_only_pad_and_the_mark_of_the_hidden_stay_as_they_were_drawn(
    tmp_path: Path, workspace: Workspace
) -> None:
    theirs = written(tmp_path, vocab_size=300, **SMALL)
    model = begun(tmp_path, workspace, vocabulary_multiple=64)
    same_scores(model, theirs)
    masked = begun(tmp_path, workspace, objective="masked")
    for each in (model, masked):
        torch.manual_seed(5)
        fresh = GPT(each.shape, 300).wte.weight
        assert torch.equal(each.wte.weight[300:], fresh[300:])
        assert len(fresh) > 300
        assert torch.equal(each.wte.weight[:300], theirs.transformer.wte.weight)


def test_a_folder_of_ours_goes_on_with_its_own_mask(tmp_path: Path, workspace: Workspace) -> None:
    torch.manual_seed(1)
    model = GPT(msgspec.structs.replace(SHAPE, objective="masked", vocabulary_multiple=64), VOCABULARY.size).eval()
    save_model(model, tmp_path)
    VOCABULARY.save(tmp_path / "vocabulary.json")
    again = begun(tmp_path, workspace, objective="masked", vocabulary_multiple=8)
    ids = torch.tensor([[1, model.mask_token_id, 3, model.mask_token_id]])
    assert torch.equal(model(ids), again(ids))
    assert len(again.wte.weight) < len(model.wte.weight)


def test_a_pickle_is_refused_with_a_way_out(tmp_path: Path, workspace: Workspace) -> None:
    written(tmp_path, vocab_size=300, **SMALL)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    said = refused(tmp_path, workspace)
    assert "pytorch_model.bin, a pickle" in said
    assert "save_pretrained" in said


def test_every_field_that_differs_is_named_with_both_values(tmp_path: Path, workspace: Workspace) -> None:
    written(tmp_path, vocab_size=300, **SMALL)
    said = refused(tmp_path, workspace, n_layer=3, block_size=16, bias=False, norm="rms")
    for clause in (
        "model.n_layer: the recipe says 3, the weights have 2",
        "model.block_size: the recipe says 16, the weights have 8",
        "model.bias: the recipe says false, the weights have true",
        "model.norm: the recipe says rms, the weights have layer",
        "--set model.n_layer=2 --set model.block_size=8 --set model.norm=layer --set model.bias=true",
    ):
        assert clause in said
    assert said.count("the recipe says") == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({"activation_function": "relu"}, "activation_function is relu"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
        ({"n_inner": 32}, "n_inner is 32"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"n_layer": 0}, "describes no model"),
        ({"n_layer": "two"}, "config.json cannot be read"),
    ],
    ids=str,
)
def test_a_model_that_is_no_gpt2_is_refused(
    tmp_path: Path, workspace: Workspace, change: dict[str, Any], says: str
) -> None:
    written(tmp_path, vocab_size=300, **SMALL)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    assert says in refused(tmp_path, workspace)


def test_damaged_weights_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    written(tmp_path, vocab_size=300, **SMALL)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    name = "transformer.h.1.mlp.c_fc.bias"
    changes: list[tuple[dict[str, torch.Tensor], str]] = [
        ({key: value for key, value in whole.items() if key != name}, "without h.1.mlp.c_fc.bias"),
        ({**whole, "extra": torch.ones(1)}, "with extra"),
        ({**whole, name: torch.ones(63)}, "shape (63,) where (64,) is needed"),
        ({**whole, name: torch.full((64,), float("nan"))}, "does not hold finite numbers"),
        ({**whole, name: torch.ones(64, dtype=torch.int8)}, "does not hold finite numbers"),
        ({**whole, "transformer.wte.weight": torch.ones(299, 16)}, "wte.weight has the shape"),
    ]
    for tensors, says in changes:
        save_file(tensors, file)
        assert says in refused(tmp_path, workspace)
    file.write_bytes(file.read_bytes()[:1000])
    assert "model.safetensors cannot be read" in refused(tmp_path, workspace)


def test_half_precision_weights_become_float32(tmp_path: Path, workspace: Workspace) -> None:
    theirs = peer(vocab_size=300, **SMALL).half()
    theirs.save_pretrained(tmp_path)
    model = begun(tmp_path, workspace)
    assert model.wte.weight.dtype == torch.float32
    same_scores(model, theirs.float())


def test_tokens_from_another_vocabulary_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    words = "tokens from another vocabulary than the model's"
    written(tmp_path / "hf", vocab_size=300, **SMALL)
    other = Vocabulary("bytes", "", BYTES, kind="bytes")
    assert words in refused(tmp_path / "hf", workspace, vocabulary=other)
    assert words in refused(tmp_path / "hf", workspace, vocabulary=gpt2_like(301))
    (tmp_path / "own").mkdir()
    save_model(GPT(SHAPE, 300), tmp_path / "own")
    VOCABULARY.save(tmp_path / "own" / "vocabulary.json")
    begun(tmp_path / "own", workspace)
    shuffled = Vocabulary("gpt2", "", [*BYTES[::-1], *VOCABULARY.ranks[256:]], kind="pairs")
    assert words in refused(tmp_path / "own", workspace, vocabulary=shuffled)
    (tmp_path / "own" / "vocabulary.json").unlink()
    assert "vocabulary.json" in refused(tmp_path / "own", workspace)


# -- another run ----------------------------------------------------------------------------------------------------


def checkpointed(workspace: Workspace, name: str, losses: dict[int, float], **fields: Any) -> Run:
    """A run of SHAPE with a checkpoint of other weights at each step."""
    shape = msgspec.structs.replace(SHAPE, **fields)
    run = Run.create(workspace, Recipe(name=name, model=shape, tokenize=load(preset="gpt2").tokenize))

    def write(step: int, staged: Path) -> None:
        torch.manual_seed(step)
        save_model(GPT(shape, 300), staged)
        VOCABULARY.save(staged / "vocabulary.json")

    for step, loss in losses.items():
        path = run.checkpoints / f"step-{step:08d}"
        write_directory(path, "train", "0", lambda staged, step=step: write(step, staged), facts={"slice_loss": loss})
    return run


def of_step(step: int) -> torch.Tensor:
    torch.manual_seed(step)
    return GPT(SHAPE, 300).wte.weight


def test_a_run_gives_its_best_checkpoint_or_the_one_asked_for(workspace: Workspace) -> None:
    run = checkpointed(workspace, "older", {10: 3.0, 20: 2.0, 30: 2.5})
    assert torch.equal(begun("run:older", workspace).wte.weight, of_step(20))
    assert torch.equal(begun(f"run:{run.id}@30", workspace).wte.weight, of_step(30))
    assert "step-00000010, step-00000020" in refused("run:older@15", workspace)
    assert "did you mean 'older'?" in refused("run:oldr", workspace)
    weights = run.checkpoints / "step-00000020" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert torch.equal(begun("run:older", workspace).wte.weight, of_step(30))


def test_a_recipe_takes_shape_and_tokens_from_the_run_it_goes_on_from(workspace: Workspace) -> None:
    run = checkpointed(workspace, "older", {10: 3.0}, dropout=0.2)
    recipe = load(overrides=["model.init=run:older", "model.dropout=0.3", "name=older"])
    assert recipe.model == msgspec.structs.replace(SHAPE, dropout=0.3, init=f"run:{run.id}")
    assert recipe.tokenize.vocabulary == "gpt2"
    checkpointed(workspace, "older", {10: 3.0}, n_layer=1)  # a later run of that name changes nothing
    assert load(base=msgspec.to_builtins(recipe)) == recipe
    with pytest.raises(RecipeError, match="tokens from another vocabulary"):
        load(overrides=[f"model.init=run:{run.id}", "tokenize.vocabulary=bytes"])
    with pytest.raises(RecipeError, match=r"model\.n_embd: the recipe says 32, the weights have 16"):
        load(overrides=[f"model.init=run:{run.id}", "model.n_embd=32"])


# -- recipes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"])
def test_init_alone_makes_a_recipe_of_the_published_shape(name: str) -> None:
    known = load(preset=name)
    recipe = load(overrides=[f"model.init=hf:{name}"])
    assert recipe.model == msgspec.structs.replace(known.model, init=f"hf:{name}")
    assert recipe.tokenize.vocabulary == "gpt2"
    assert (recipe.train.optimizer, recipe.train.lr) == ("adamw", 3e-5)  # nanoGPT, config/finetune_shakespeare.py
    same = load(overrides=[f"model.init=hf:openai-community/{name}@main", "train.lr=1e-4", "model.dropout=0.1"])
    assert (same.model.n_layer, same.train.lr, same.model.dropout) == (known.model.n_layer, 1e-4, 0.1)


def test_a_folder_says_its_shape_and_is_found_from_anywhere(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "weights", **SMALL)
    (tmp_path / "mine.toml").write_text('[model]\ninit = "weights"\n')
    recipe = load(file=tmp_path / "mine.toml")
    assert recipe.model == msgspec.structs.replace(SHAPE, init=str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    assert load(overrides=["model.init=weights"]).model == recipe.model
    shutil.rmtree(tmp_path / "weights")
    with pytest.raises(RecipeError, match="there is no such folder"):
        load(file=tmp_path / "mine.toml")
    assert load(base=msgspec.to_builtins(recipe)) == recipe  # a finished run can still be looked at


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.init=hf:gpt3", "did you mean 'gpt2'?"),
        ("model.init=hf:../x", "write hf:NAMESPACE/NAME"),
        ("model.init=run:X Y", "write run:NAME"),
        ("model.init=/nowhere", "there is no such folder"),
        ("model.init=/etc/passwd", "it is no folder"),
        ("model.init=/", "there is no model.json or config.json in it"),
        (f"model.init=/{'x' * 3000}", "file name too long"),
        ('model.init="a\\u0000b"', "embedded null"),
        ("model.init=~nobody-of-that-name/x", "names no weights"),
        ("model.init=run:nothing", "there is no run 'nothing'"),
    ],
)
def test_an_init_that_names_nothing_is_refused_at_once(override: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(overrides=[override])
    assert says in caught.value.sentence()


def characters_of(vocabulary: Vocabulary) -> dict[str, int]:
    """Its entries as `transformers` writes them in vocab.json."""
    character = {byte: letter for letter, byte in byte_of_character().items()}
    return {"".join(character[byte] for byte in ranks): id_ for id_, ranks in enumerate(vocabulary.ranks)}


@pytest.mark.parametrize("more", [1, 64])
def test_rows_beyond_the_tokens_of_gpt2_are_left_behind(tmp_path: Path, workspace: Workspace, more: int) -> None:
    theirs = written(tmp_path, vocab_size=300 + more, **SMALL)
    (tmp_path / "vocab.json").write_text(json.dumps(characters_of(VOCABULARY) | {"<pad>": 300}))
    model = begun(tmp_path, workspace)
    assert model.wte.weight.shape[0] == 300
    ids = torch.randint(300, (2, 8), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.allclose(model(ids), theirs(ids).logits[..., :300], atol=1e-4)


def test_weights_with_tokens_of_their_own_are_refused(tmp_path: Path, workspace: Workspace) -> None:
    written(tmp_path / "many", vocab_size=300 + 129, **SMALL)
    assert "theirs has 429 entries" in refused(tmp_path / "many", workspace)
    written(tmp_path / "other", vocab_size=301, **SMALL)
    theirs = characters_of(VOCABULARY)
    swapped = {token: {280: 281, 281: 280}.get(id_, id_) for token, id_ in theirs.items()}
    (tmp_path / "other" / "vocab.json").write_text(json.dumps(swapped))
    assert "another one than GPT-2's, from token 280 on" in refused(tmp_path / "other", workspace)
