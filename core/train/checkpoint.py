"""Checkpoints: everything needed to go on as if nothing had happened, and to draw text, in one directory.

    model.json  model.safetensors     the model; loadable by anything
    vocabulary.json                   so that the checkpoint speaks for itself
    train.safetensors                 the optimisers' averages, random states
    state.json                        the numbers in `State`
    manifest.json                     written last: sizes and digests of all of them

A directory without its manifest does not exist: it is staged under another name and renamed.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from core.artifact import Artifact, Damaged, Facts, write_directory
from core.files import remove_tree
from core.model.gpt import GPT
from core.model.weights import BadWeights, load_weights, save_model
from core.workspace import free_bytes

HEADROOM = 1.2
"""Free space asked for before saving, in sizes of the last checkpoint."""


class State(Struct, kw_only=True):
    """Where the training is, beside weights and averages."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Of training, pauses left out."""
    best: float | None = None
    """Lowest validation loss so far, in nats per token."""
    finished: bool = False
    dtype: str = "float32"
    """What the arithmetic is done in: a choice of the machine's that a resumed training keeps."""


def _optimizer_tensors(model: GPT, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"optim.{names[id(parameter)]}.{key}": value
        for optimizer in optimizers
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }


def _random_states() -> dict[str, Tensor]:
    states = {"rng.torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["rng.cuda"] = torch.cuda.get_rng_state()
    return states


def save(
    directory: Path,
    model: GPT,
    optimizers: Sequence[Optimizer],
    state: State,
    vocabulary: Path,
    *,
    fingerprint: str,
    facts: Facts,
) -> Artifact:
    """Write `directory/step-XXXXXXXX`, all of it or nothing. Raises OSError; a full disk leaves nothing behind."""

    def write(staged: Path) -> None:
        try:
            save_model(model, staged)
            tensors = {**_optimizer_tensors(model, optimizers), **_random_states()}
            save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, staged / "train.safetensors")
        except SafetensorError as error:  # its only way to say that the disk is full
            raise OSError(errno.EIO, str(error)) from None
        (staged / "state.json").write_bytes(msgspec.json.encode(state))
        shutil.copyfile(vocabulary, staged / "vocabulary.json")

    return write_directory(directory / f"step-{state.step:08d}", "train", fingerprint, write, facts=facts)


def has_room(directory: Path) -> bool:
    """Whether the disk can take another checkpoint like the newest one; True while there is none."""
    sizes = [sum(file.stat().st_size for file in path.iterdir()) for path in sorted(directory.glob("step-*"))]
    return not sizes or free_bytes(directory) >= HEADROOM * sizes[-1]


def newest(directory: Path) -> tuple[Artifact | None, list[str]]:
    """The newest checkpoint whose every byte is as written, and the newer ones that are not, with their damage."""
    damaged: list[str] = []
    for path in sorted(directory.glob("step-*"), reverse=True):
        try:
            return Artifact.open(path, verify=True), damaged
        except Damaged as trouble:
            damaged.append(f"{path.name}: {trouble.what}")
    return None, damaged


def restore(checkpoint: Artifact, model: GPT, optimizers: Sequence[Optimizer]) -> State:
    """Put a checkpoint into `model`, `optimizers` and torch's random state. Raises BadWeights."""
    load_weights(model, checkpoint.path)
    try:
        tensors = load_file(checkpoint.path / "train.safetensors")
        state = msgspec.json.decode((checkpoint.path / "state.json").read_bytes(), type=State)
    except (OSError, SafetensorError, msgspec.DecodeError) as error:
        raise BadWeights(f"its training state cannot be read ({error})", where=str(checkpoint.path)) from None
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                prefix = f"optim.{names[id(parameter)]}."
                for key in (key for key in tensors if key.startswith(prefix)):
                    optimizer.state[parameter][key.removeprefix(prefix)] = tensors[key].to(parameter.device)
    torch.set_rng_state(tensors["rng.torch"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    return state


def retain(directory: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints and the best by its loss on the validation slice."""
    found: list[tuple[Path, float]] = []
    for path in sorted(directory.glob("step-*")):
        try:
            found.append((path, float(Artifact.open(path).facts.get("slice_loss", float("inf")))))
        except Damaged:
            remove_tree(path)
    best = min(found, key=lambda pair: pair[1], default=None)
    for path, loss in found[:-keep]:
        if best is None or (path, loss) != best:
            remove_tree(path)
