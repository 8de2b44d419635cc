"""Invalid initial weights are found before any data is prepared, and reported by the commands at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.checkpoints import readable_checkpoints
from core.errors import LlmtuiError
from core.events import Event, StageStarted
from core.model.gpt import GPT
from core.model.weights import save_model
from core.pipeline import pipeline
from core.recipe.file import to_toml
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.storage.artifact import write_directory
from core.storage.workspace import Workspace
from core.tokenize.vocabulary import Vocabulary
from llmtui.cli.main import run as command_line
from tests.core.training import CPU

pytestmark = pytest.mark.heavy

BYTES = Vocabulary("bytes", "", [bytes([byte]) for byte in range(256)], kind="bytes")
NAME = "h.0.mlp.c_fc.weight"

Make = Callable[..., Recipe]


@pytest.fixture
def recipe(tiny: Make, tmp_path: Path) -> Recipe:
    """A training initialised with valid weights of this program in tmp_path/weights."""
    small = tiny("tokenize.vocabulary=bytes", "train.steps=1", 'model.init=""')
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.manual_seed(1)
    save_model(GPT(small.model, BYTES.size), folder)
    BYTES.save(folder / "vocabulary.json")
    return initialised(small, str(folder))


def initialised(recipe: Recipe, init: str, **tokenize: object) -> Recipe:
    return msgspec.structs.replace(
        recipe,
        model=msgspec.structs.replace(recipe.model, init=init),
        tokenize=msgspec.structs.replace(recipe.tokenize, **tokenize),
    )


def pipeline_error(recipe: Recipe, workspace: Workspace, tmp_path: Path) -> str:
    """The message with which the pipeline refuses `recipe` before its first stage."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True, exist_ok=True)
    events: list[Event] = []
    with pytest.raises(LlmtuiError) as caught:
        events.extend(pipeline(recipe, workspace, tmp_path / "run", CPU))
    assert not any(isinstance(event, StageStarted) for event in events)
    assert not list(workspace.artifacts.iterdir())
    return caught.value.sentence()


def damage(folder: Path, kind: str) -> None:
    file = folder / "model.safetensors"
    tensors, raw = load_file(file), file.read_bytes()
    match kind:
        case "missing":
            file.unlink()
        case "pickle":
            file.rename(folder / "pytorch_model.bin")
        case "short":
            file.write_bytes(raw[:-4])
        case "cut in its JSON":
            file.write_bytes(raw[:100])
        case "empty":
            file.write_bytes(b"")
        case "no JSON":
            file.write_bytes(raw[:8] + b"\xff" * 500 + raw[508:])
        case "gap":
            file.write_bytes(raw.replace(b'"data_offsets":[0,', b'"data_offsets":[4,', 1))
        case "without":
            save_file({name: tensor for name, tensor in tensors.items() if name != NAME}, file)
        case "unknown":
            save_file({**tensors, "h.7.attn.c_attn.weight": torch.ones(1)}, file)
        case "shape":
            save_file({**tensors, NAME: torch.ones(127, 32)}, file)
        case "integers":
            save_file({**tensors, NAME: torch.ones(128, 32, dtype=torch.int32)}, file)
        case "nan":
            save_file({**tensors, NAME: torch.full((128, 32), float("nan"))}, file)
        case "vocabulary":
            (folder / "vocabulary.json").write_bytes((folder / "vocabulary.json").read_bytes()[:100])
        case "no vocabulary":
            (folder / "vocabulary.json").unlink()


FOUND_IN_HEADERS = [
    ("missing", "there is no model.safetensors in it"),
    ("pickle", "pytorch_model.bin, a pickle"),
    ("short", "bytes where it says"),
    ("cut in its JSON", "model.safetensors cannot be read"),
    ("empty", "model.safetensors cannot be read (it is no safetensors file)"),
    ("no JSON", "model.safetensors cannot be read"),
    ("gap", "its tensors are not contiguous"),
    ("without", f"without {NAME}"),
    ("unknown", "with h.7.attn.c_attn.weight"),
    ("shape", f"{NAME} has the shape (127, 32) where (128, 32) is needed"),
    ("integers", f"{NAME} does not hold finite numbers"),
    ("vocabulary", "vocabulary.json cannot be read"),
    ("no vocabulary", "there is no vocabulary.json in it"),
]


@pytest.mark.parametrize(("kind", "message"), [*FOUND_IN_HEADERS, ("nan", f"{NAME} does not hold finite numbers")])
def test_invalid_weights_are_found_before_the_first_stage(
    recipe: Recipe, workspace: Workspace, tmp_path: Path, kind: str, message: str
) -> None:
    damage(tmp_path / "weights", kind)
    assert message in pipeline_error(recipe, workspace, tmp_path)


@pytest.mark.parametrize(("kind", "message"), FOUND_IN_HEADERS)
def test_commands_report_invalid_weights_and_create_no_run(
    recipe: Recipe,
    workspace: Workspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    message: str,
) -> None:
    damage(tmp_path / "weights", kind)
    (tmp_path / "mine.toml").write_text(to_toml(recipe))
    for command in (["plan", str(tmp_path / "mine.toml")], ["run", str(tmp_path / "mine.toml")]):
        assert command_line(command) == 2
        assert message in capsys.readouterr().err
    assert not list(workspace.runs.iterdir())


def test_checking_initial_weights_imports_no_torch(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(to_toml(recipe))
    program = (
        "import sys; from llmtui.cli.main import run\n"
        f"assert run(['plan', {str(tmp_path / 'mine.toml')!r}]) == 0\n"
        "sys.exit(bool({'torch', 'pyarrow', 'tokenizers', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize(
    ("tokenize", "message"),
    [
        ({"vocabulary": "gpt2"}, "gpt2 in the recipe, bytes there"),
        ({"vocabulary": "bpe", "size": 256}, "bpe in the recipe, bytes there"),
    ],
)
def test_another_vocabulary_is_found_before_tokenizing(
    recipe: Recipe, workspace: Workspace, tmp_path: Path, tokenize: dict[str, object], message: str
) -> None:
    assert message in pipeline_error(initialised(recipe, recipe.model.init, **tokenize), workspace, tmp_path)


def test_a_bpe_vocabulary_that_is_too_small_is_found_before_training_it(
    recipe: Recipe, workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    trained = Vocabulary("bpe", "", [*BYTES.ranks, b"th", b"he"], kind="pairs")
    save_model(GPT(recipe.model, trained.size), folder)
    trained.save(folder / "vocabulary.json")
    smaller = initialised(recipe, recipe.model.init, vocabulary="bpe", size=258)
    assert "bpe of 258 entries here, 259 there" in pipeline_error(smaller, workspace, tmp_path)


def test_model_json_and_vocabulary_json_of_different_sizes_are_refused(
    recipe: Recipe, workspace: Workspace, tmp_path: Path
) -> None:
    Vocabulary("bytes", "", [*BYTES.ranks, b"th"], kind="bytes").save(tmp_path / "weights" / "vocabulary.json")
    error = pipeline_error(recipe, workspace, tmp_path)
    assert "model.json says 257 entries, vocabulary.json has 258" in error


def test_another_architecture_is_found_before_the_first_stage(
    recipe: Recipe, workspace: Workspace, tmp_path: Path
) -> None:
    wider = msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, n_embd=64))
    assert "model.n_embd: the recipe says 64, the weights have 32" in pipeline_error(wider, workspace, tmp_path)


def test_a_run_without_an_intact_checkpoint_is_found_before_the_first_stage(
    recipe: Recipe, workspace: Workspace, tmp_path: Path
) -> None:
    older = Run.create(workspace, msgspec.structs.replace(recipe, name="older"))
    continued = initialised(recipe, f"run:{older.id}")
    assert "there are: none" in pipeline_error(continued, workspace, tmp_path)
    with pytest.raises(LlmtuiError, match="it has no checkpoint"):
        Run.create(workspace, continued)

    def fill(staged: Path) -> None:
        for file in (tmp_path / "weights").iterdir():
            (staged / file.name).write_bytes(file.read_bytes())

    write_directory(older.checkpoints / "step-00000010", "train", "0", fill)
    Run.create(workspace, continued)
    file = older.checkpoints / "step-00000010" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")  # found by its digest only
    assert "there are: step-00000010" in pipeline_error(continued, workspace, tmp_path)


def test_valid_weights_are_loaded_once_and_not_checked_on_resume(
    recipe: Recipe, workspace: Workspace, tmp_path: Path
) -> None:
    run = Run.create(workspace, recipe)
    list(pipeline(recipe, workspace, run.path, CPU))
    for file in (tmp_path / "weights").iterdir():
        file.unlink()
    longer = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, steps=2))
    list(pipeline(longer, workspace, run.path, CPU))
    assert readable_checkpoints(run.checkpoints)[-1].facts["step"] == 2
