"""`llmtui export`, with its child process."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import load_file

from core.events import Evaluation, Metric, encode
from core.export.architectures import architecture_of
from core.export.request import ExportError
from core.recipe.schema import Recipe, Source
from core.runs.directory import Run
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from llmtui.view.model_card import model_card
from tests.byte_models import run_with_checkpoints
from tests.core.exporting import MODERN

Out = pytest.CaptureFixture[str]


@pytest.mark.heavy
def test_a_checkpoint_is_exported_with_its_card(workspace: Workspace, tmp_path: Path, capsys: Out) -> None:
    run = run_with_checkpoints(workspace, 3, 7)
    to = tmp_path / "my models" / "tiny"
    assert command_line(["export", "tiny@3", "--to", str(to)]) == 0
    out, messages = capsys.readouterr()
    assert out == f"{to}\n"
    assert f"step 3 of {run.id} as ApertusForCausalLM" in messages
    exported = load_file(to / "model.safetensors")["model.embed_tokens.weight"]
    assert exported.equal(load_file(run.checkpoints / "step-00000003" / "model.safetensors")["wte.weight"])
    card = (to / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n") and "exported at step 3." in card
    assert json.loads((to / "config.json").read_text())["model_type"] == "apertus"

    assert command_line(["export", "tiny@best", "--to", str(to)]) == ExportError.exit_code
    assert "cannot export the model: the folder is not empty" in capsys.readouterr().err


def test_what_cannot_be_exported_is_said_before_a_process_starts(
    workspace: Workspace, tmp_path: Path, capsys: Out
) -> None:
    run_with_checkpoints(workspace, 3, qk_norm=False)
    assert command_line(["export", "--to", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "no architecture of other programs has model.qk_norm = false" in message
    assert "ApertusForCausalLM: --set model.qk_norm=true" in message
    assert command_line(["export", "tiny@9", "--to", str(tmp_path / "out")]) == 2
    assert command_line(["export", "other", "--to", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_plan_says_what_a_model_is_exported_as(in_temporary_directory: None, capsys: Out) -> None:
    assert command_line(["plan", "--preset", "book"]) == 0
    assert "export      GPT2LMHeadModel of transformers, by llmtui export" in capsys.readouterr().out
    refused = ["plan", "--preset", "demo", "--set", "model.qk_norm=false"]
    assert command_line(refused) == 0
    assert "impossible with model.qk_norm = false; the nearest" in capsys.readouterr().out
    assert command_line([*refused, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)["export"]
    obstacle = {"field": "qk_norm", "value": False, "needed": True}
    assert record == {"architecture": "ApertusForCausalLM", "obstacles": [obstacle]}


def trained_run(workspace: Workspace, corpus: str) -> Run:
    run = Run.create(workspace, Recipe(name="tiny", source=Source(corpus=corpus), model=MODERN))
    journal = JournalWriter(run.journal)
    for step in range(100, 4100, 100):
        for event in (
            Metric(step=step, loss=2.0, lr=1e-3, grad_norm=1.0, tokens=step * 1024, seconds=step / 10, progress=0.5),
            Evaluation(step=step, loss=5.0 - step / 1000, train_loss=None, bits_per_byte=1.25, best=True),
        ):
            journal.append(encode(event))
    journal.close()
    model = msgspec.structs.replace(MODERN, init="/private folder/weights")  # Run.create would read them
    recipe = msgspec.structs.replace(run.recipe, model=model)
    return Run(run.path, msgspec.structs.replace(run.file, recipe=recipe))


def card_of(run: Run, step: int) -> str:
    curves, rest = run.load_curves()
    for event in rest.iter_events():
        curves.absorb(event)
    return model_card(run, curves, step, architecture_of(run.recipe.model))


def test_a_card_has_the_figures_up_to_its_step_and_no_folders(workspace: Workspace, tmp_path: Path) -> None:
    secret = tmp_path / "private folder" / "diary.txt"
    card = card_of(trained_run(workspace, str(secret)), 3000)
    assert "| 100 | 4.900 |" in card and "| 3,000 | 2.000 |" in card and "| 3,100" not in card
    assert card.count("\n| ") < 30
    assert "4,000 steps, 4.10M tokens" in card and "1.250 bits per byte" in card
    assert "Trained on `diary.txt`." in card and 'corpus = "diary.txt"' in card
    assert "initialised from `weights`" in card
    assert str(tmp_path) not in card and "private folder" not in card


def test_a_card_has_the_licence_and_the_notice_of_a_known_corpus(workspace: Workspace) -> None:
    card = card_of(trained_run(workspace, "hf:bookcorpus"), 3000)
    assert "datasets: [bookcorpus/bookcorpus]" in card
    assert "Licence of the text: none: collected without the authors' consent." in card
    assert "> The books were copied from smashwords.com" in card
