"""Recipes: layers, renamed fields, and error messages."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest

from core.recipe.checks import OTHER_NAMES, RecipeError, suggestion
from core.recipe.fields import fields, from_tables
from core.recipe.file import load, presets, to_toml
from core.recipe.schema import Model, Recipe


def test_later_layers_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nminutes = 7\nlr = 0.01\n")
    made = load(preset="demo", file=file, base={"name": "x"}, overrides=["train.lr=0.02"])
    assert (made.name, made.source.corpus) == ("x", "stdlib")  # base over preset; preset over default
    assert (made.train.minutes, made.train.lr) == (7, 0.02)  # file over preset; --set over file
    assert made.train.grad_clip == Recipe().train.grad_clip


def test_a_saved_recipe_reads_back_as_itself_and_explains_every_field() -> None:
    text = to_toml(load(preset="demo"))
    assert from_tables(tomllib.loads(text)) == load(preset="demo")
    for field in fields():
        assert field.description in text
        assert field.allowed


@pytest.mark.heavy
def test_every_preset_is_a_valid_recipe() -> None:
    for name in presets():
        assert load(preset=name).name == name
    assert load(preset="small", base={"name": "untitled"}) == Recipe()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.lrr=1", "did you mean 'train.lr'?"),
        ("trian.lr=1", "unknown section 'trian'"),
        ("trian.lr=1", "did you mean 'train'?"),
        ("train.foo=1", "[train] has steps, tokens, minutes"),
        ("model.lr=1", "did you mean 'train.lr'?"),
        ("lr=1", "did you mean 'train.lr'?"),
        ("nmae=x", "did you mean 'name'?"),
        ("Train.LR=1", "did you mean 'train'?"),
        ("train.LR=1", "did you mean 'train.lr'?"),
        ('train.groups=[{namse="h.*"}]', "unknown field 'namse' in train.groups"),
        ('train.groups=[{namse="h.*"}]', "did you mean 'names'?"),
        ("preprocess.steps=[urls]", 'strings need quotes, such as ["a", "b"]'),
        ("zzz=1", "sections are chat, model,"),
        ("train.steps=99999999999999999999", "is more than 1,000,000,000,000"),
        ("source.max_bytes=99999999999999999999", "is more than 1,000,000,000,000,000"),
        (f"train.seed={2**63}", "train.seed = 9223372036854775808 is more than 9,223,372,036,854,775,807"),
        (f"sample.seed={2**62 + 1}", "is more than 4,611,686,018,427,387,904"),
        ("train.lr=7", "train.lr = 7 is not a number above 0, at most 1"),
        ("train.lr=nan", "is not a number"),
        ("train.steps=true", "train.steps = true is not a whole number at least 1"),
        ("tokenize.vocabulary=gpt3", "one of bpe, bytes, characters, cl100k_base, gpt2,"),
        ("tokenize.size=12", "at least 257"),
        ("train=4", "'train' is a section"),
        ("name=../x", "a-z, 0-9"),
        ("train.minutes", "--set needs FIELD=VALUE"),
        ("model.n_head=3", "nearest that works: n_embd = 255 or 258"),
        ('preprocess.steps=["rot13"]', "unicode_nfc"),
        ("source.encoding=cp12500", "did you mean 'cp1250'?"),
        ("source.encoding=rot13", "is no encoding of text"),
        ("source.encoding=idna", "is no encoding of text"),
    ],
)
def test_errors_name_the_field_its_values_and_the_nearest_name(override: str, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(overrides=[override])
    assert says in caught.value.sentence()
    assert caught.value.exit_code == 2


def test_errors_in_files_and_overrides_have_the_same_message(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for content, says in (
        ("[train]\nfoo = 1\n", "[train] has steps"),
        ("[trian]\nlr = 1\n", "did you mean 'train'?"),
        ("lr = 1\n", "did you mean 'train.lr'?"),
    ):
        file.write_text(content)
        with pytest.raises(RecipeError) as caught:
            load(file=file)
        assert says in caught.value.todo


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for content in (b"[train]\nlrr = 1\n", b"[train\n", b"\xff\xfea"):
        file.write_bytes(content)
        with pytest.raises(RecipeError) as caught:
            load(file=file)
        assert "mine.toml" in caught.value.sentence()
    with pytest.raises(RecipeError, match="no such file"):
        load(file=tmp_path / "absent.toml")


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        load(preset="dem")
    assert "did you mean 'demo'?" in caught.value.sentence()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_recipes_with_byte_order_marks_are_read(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "mine.toml"
    mark = "\ufeff" if encoding.endswith(("-le", "-be")) else ""  # the others write it themselves
    file.write_bytes(f'{mark}# prêt\r\nname = "mine"\r\n[train]\r\nminutes = 7\r\n'.encode(encoding))
    assert (load(file=file).name, load(file=file).train.minutes) == ("mine", 7)


def test_a_file_without_byte_order_mark_must_be_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for raw in ('name = "é"'.encode("latin-1"), b"\xff\xfen\0a\0x"):
        file.write_bytes(raw)
        with pytest.raises(RecipeError, match="is not UTF-"):
            load(file=file)


def test_an_empty_corpus_name_is_a_recipe_error() -> None:
    with pytest.raises(RecipeError, match="corpus"):
        load(base={"source": {"corpus": ""}})


def test_former_names_of_fields_are_read_with_a_note(tmp_path: Path) -> None:
    file = tmp_path / "old.toml"
    file.write_text("[train]\nclip = 0.5\n[model]\ntied_head = true\n")
    notes: list[str] = []
    recipe = load(file=file, overrides=["train.keep=7", "source.max_broken=0"], note=notes.append)
    assert (recipe.train.grad_clip, recipe.model.tie_embeddings) == (0.5, True)
    assert (recipe.train.keep_checkpoints, recipe.source.max_invalid_records) == (7, 0)
    assert notes == [
        f"train.clip is now called train.grad_clip ({file})",
        f"model.tied_head is now called model.tie_embeddings ({file})",
        "train.keep is now called train.keep_checkpoints (--set train.keep=7)",
        "source.max_broken is now called source.max_invalid_records (--set source.max_broken=0)",
    ]
    with pytest.raises(RecipeError, match=r"train\.clip is the former name of train\.grad_clip, and both are given"):
        load(base={"train": {"clip": 1.0, "grad_clip": 2.0}})


def test_a_recipe_as_json_is_a_layer() -> None:
    recipe = load(overrides=["train.grad_clip=0.5", "model.pad_vocabulary_multiple=64"])
    assert load(base=msgspec.to_builtins(recipe, str_keys=True)) == recipe


def test_every_field_has_a_description_that_generated_help_shows() -> None:
    text = to_toml(Recipe())
    named = {f"{field.section}.{field.name}" for field in fields()}
    for section in msgspec.structs.fields(Recipe):
        struct = section.type
        for field in msgspec.structs.fields(struct) if hasattr(struct, "__struct_fields__") else ():
            assert f"{section.name}.{field.name}" in named
    for each in fields():
        assert each.description.endswith(".")
        assert f"# {each.description} ({each.allowed})\n" in text


def test_every_activation_of_the_schema_is_in_the_table_with_its_widths() -> None:
    torch = pytest.importorskip("torch")
    from core.model.count import mlp_widths
    from core.model.gpt import MLP
    from core.model.layers import ACTIVATIONS

    (field,) = (field for field in fields() if field.key == "model.activation")
    assert field.allowed == "one of " + ", ".join(sorted(ACTIVATIONS, key=field.allowed.index))
    for name, activation in ACTIVATIONS.items():
        expanded, activated = mlp_widths(Model(activation=name))  # type: ignore[arg-type]
        assert activation(torch.ones(2, expanded)).shape == (2, activated)
    with pytest.raises(ValueError, match="unknown activation 'tanh', expected one of gelu"):
        MLP(Model(activation="tanh"))  # type: ignore[arg-type]


def test_names_of_other_programs_stand_for_fields_and_are_none_of_ours() -> None:
    known = {field.key: field.name for field in fields()}
    assert set(OTHER_NAMES) <= set(known)
    assert not {name for names in OTHER_NAMES.values() for name in names} & set(known.values())
    assert suggestion("train.depth") == "did you mean 'model.depth'?"
    assert suggestion("model.d_model") == "did you mean 'model.n_embd'?"
