"""The state of the new-run form."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from core.errors import LlmtuiError
from core.recipe.checks import RecipeError
from core.recipe.choices import with_value
from core.recipe.fields import fields
from core.recipe.file import load
from core.storage.workspace import Workspace
from llmtui.cli.commands.recipe_argument import resolve
from llmtui.tui.recipe_export import RecipeFileError, command_words, save_recipe
from llmtui.tui.recipe_form import PRESET, RecipeForm, next_name, resolve_form
from tests.ui.fake_runs import make_run


def test_every_field_of_the_recipe_is_in_the_form_and_found_by_its_name_and_its_description() -> None:
    form = RecipeForm()
    assert {field.key for field in form.fields} == {field.key for field in fields()} | {PRESET.key}
    for field in fields():
        assert field in form.search(field.key) and field in form.search(field.description)
        assert field in form.search(""), "reachable without a search, too"


@pytest.mark.parametrize(
    ("search", "key"),
    [("lr", "train.lr"), ("LR ", "train.lr"), ("muon", "train.muon_lr"), ("train.lr_final", "train.lr_final")],
)
def test_a_search_leads_to_the_field_of_that_name_before_those_that_mention_it(search: str, key: str) -> None:
    best = RecipeForm().best_match(search)
    assert best is not None and best.key == key
    assert RecipeForm().best_match("no such field") is None


@pytest.mark.parametrize(
    ("key", "text"),
    [("train.lr", "fast"), ("model.n_head", "0"), ("model.norm", "rsm"), ("train.minutes", "-3"), ("model.bias", "x")],
)
def test_a_wrong_value_has_the_sentence_that_load_gives(workspace: Workspace, key: str, text: str) -> None:
    form = RecipeForm()
    form.set(key, text)
    with pytest.raises(RecipeError) as caught:
        load(overrides=[f"{key}={text}"])
    problems = resolve_form(form.inputs, workspace).problems
    assert list(problems) == [key]
    assert (problems[key].what, problems[key].todo) == (caught.value.what, caught.value.todo)


def test_several_wrong_fields_have_a_problem_each_and_the_rest_still_gives_a_recipe(workspace: Workspace) -> None:
    form = RecipeForm()
    for key, text in (("train.lr", "x"), ("source.corpus", "/no/such"), ("name", "No Name"), ("train.steps", "7")):
        form.set(key, text)
    resolved = resolve_form(form.inputs, workspace)
    assert set(resolved.problems) == {"train.lr", "source.corpus", "name"}
    assert resolved.recipe and resolved.recipe.train.steps == 7


def test_fields_that_do_not_fit_one_another_are_blamed_on_one_that_was_changed(workspace: Workspace) -> None:
    form = RecipeForm()
    form.set("model.n_embd", "100")
    form.set("model.n_head", "7")
    assert list(resolve_form(form.inputs, workspace).problems) == ["model.n_head"]


def test_changed_fields_are_marked_and_so_are_those_that_follow(workspace: Workspace) -> None:
    form = RecipeForm()
    form.set("model.depth", "6")
    resolved = resolve_form(form.inputs, workspace)
    marks = {field.key: mark for field in form.fields if (mark := form.is_changed(field, resolved))}
    assert marks["model.depth"] == "typed" and marks["model.n_embd"] == "follows" and "model.norm" not in marks
    assert form.reset("model.depth") and not form.reset("model.depth")
    resolved = resolve_form(form.inputs, workspace)
    assert not any(form.is_changed(field, resolved) for field in form.fields)


def test_a_field_with_a_few_values_steps_through_them_and_may_be_left_out(workspace: Workspace) -> None:
    form = RecipeForm()
    recipe = resolve_form(form.inputs, workspace).recipe
    by_key = {field.key: field for field in form.fields}
    seen = []
    for _ in range(3):
        assert form.step(by_key["model.qkv_bias"], recipe, 1)
        seen.append(form.text(by_key["model.qkv_bias"], recipe))
    assert seen == ["true", "false", ""]
    assert not form.step(by_key["train.lr"], recipe, 1)


def test_an_emptied_field_is_left_out_although_the_preset_has_it(workspace: Workspace) -> None:
    form = RecipeForm()
    form.set(PRESET.key, "demo")
    form.set("train.minutes", "")
    recipe = resolve_form(form.inputs, workspace).recipe
    assert recipe and recipe.train.minutes is None and recipe.train.lr == 0.05


def test_a_form_like_a_run_has_its_recipe_and_the_next_name(workspace: Workspace) -> None:
    run = make_run(workspace, "bard", "train.lr=0.03", "model.n_layer=5")
    form = RecipeForm("like", run)
    resolved = resolve_form(form.inputs, workspace)
    assert resolved.recipe and resolved.recipe.name == "bard-2" and resolved.recipe.train.lr == 0.03
    assert not any(form.is_changed(field, resolved) for field in form.fields)
    form.set("train.lr", "0.01")
    changed = resolve_form(form.inputs, workspace).recipe
    assert changed and changed.train.lr == 0.01 and changed.model.n_layer == 5


@pytest.mark.parametrize(
    ("name", "following"), [("bard", "bard-2"), ("bard-2", "bard-3"), ("7", "7-2"), ("a-b", "a-b-2")]
)
def test_the_next_name_counts(name: str, following: str) -> None:
    assert next_name(name) == following


def test_on_resume_only_fields_that_may_change_are_listed_and_a_search_says_why_others_may_not(
    workspace: Workspace,
) -> None:
    form = RecipeForm("resume", make_run(workspace, "bard"))
    listed = {field.key for field in form.search("")}
    assert "train.lr" in listed and not {"model.n_layer", "train.seed", "source.corpus", "name"} & listed
    assert [field.key for field in form.search("n_layer blocks")] == ["model.n_layer"]
    assert form.why_fixed("model.n_layer") == "the weights are of that model" and not form.why_fixed("train.lr")


@pytest.mark.parametrize("preset", ["small", "demo", "gpt2"])
def test_the_command_line_gives_the_recipe_of_the_form(workspace: Workspace, tmp_path: Path, preset: str) -> None:
    text = tmp_path / "it's a text.txt"
    text.write_text("once upon a time")
    form = RecipeForm()
    for key, value in {
        PRESET.key: preset,
        "source.corpus": str(text),
        "name": "mine",
        "model.depth": "4",
        "train.minutes": "",
        "train.steps": "20",
        "sample.prompts": '["a b", "ü"]',
    }.items():
        form.set(key, value)
    recipe = resolve_form(form.inputs, workspace).recipe
    assert recipe is not None
    words = shlex.split(shlex.join(command_words(form.inputs, recipe, workspace)))
    assert words[:3] == ["llmtui", "run", str(text)]
    options = dict(zip(words[3::2], words[4::2], strict=True))
    sets = [value for option, value in zip(words[3::2], words[4::2], strict=True) if option == "--set"]
    assert resolve(words[2], options.get("--preset"), sets, options.get("--name")) == recipe


def test_the_command_that_resumes_has_what_was_changed(workspace: Workspace) -> None:
    run = make_run(workspace, "bard")
    form = RecipeForm("resume", run)
    form.set("train.lr", "1e-3")
    assert command_words(form.inputs, run.recipe, workspace) == ["llmtui", "resume", run.id, "--set", "train.lr=1e-3"]


def test_a_saved_recipe_is_the_recipe_and_a_file_is_replaced_only_on_request(tmp_path: Path) -> None:
    recipe = load(preset="demo", overrides=["train.minutes=none"])
    file = save_recipe(recipe, f"{tmp_path}/mine.toml")
    assert load(file=file) == recipe
    with pytest.raises(RecipeFileError, match="exists already"):
        save_recipe(recipe, str(file))
    other = load(preset="gpt2", overrides=["train.minutes=none"])
    assert load(file=save_recipe(other, str(file), replace=True)) == other
    with pytest.raises(RecipeFileError, match=r"ends in \.toml"):
        save_recipe(recipe, str(tmp_path))
    with pytest.raises(LlmtuiError, match="no such file"):
        save_recipe(recipe, f"{tmp_path}/absent/mine.toml")


def test_a_model_is_put_into_a_form_without_what_was_typed_elsewhere_being_lost(workspace: Workspace) -> None:
    deeper = with_value(with_value(load(preset="demo"), "n_layer", 3), "block_size", 128)
    form = RecipeForm("new")
    form.set("train.minutes", "7")
    form.set("model.n_head", "999")
    form.set_model(deeper, "demo")
    resolved = resolve_form(form.inputs, workspace)
    assert not resolved.problems and resolved.recipe and resolved.recipe.model == deeper.model
    assert resolved.recipe.train.minutes == 7
    run = make_run(workspace, "bard")
    changed = with_value(run.recipe, "n_layer", run.recipe.model.n_layer + 1)
    like = RecipeForm("like", run)
    like.set_model(changed, "")
    resolved = resolve_form(like.inputs, workspace)
    assert not resolved.problems and resolved.recipe and resolved.recipe.model == changed.model
