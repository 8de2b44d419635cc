"""Saving and restoring checkpoints: directories with all that is needed to resume to the bit and to generate text.

    model.json  model.safetensors     the model
    vocabulary.json                   its vocabulary
    train.safetensors                 optimizer state, and the random states of each rank
    state.json                        `TrainingState`
    manifest.json                     written last: sizes and digests of the files, recipe, inputs, facts

A checkpoint is staged under a temporary name and renamed. `core.checkpoints` finds them again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from core.checkpoints import best_checkpoint, checkpoint_name, checkpoint_paths, select_checkpoint, step_of
from core.model.weights import WeightsError, model_json, state_tensors, write_tensors
from core.parsing import ParseError, read_json
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact, DamagedError, Facts, NewerVersionError, write_directory
from core.storage.files import remove_tree
from core.train.data_parallel import DataParallel
from core.train.resume_compat import NewerCheckpointError

FORMAT = 1
"""Version of the contents. Raised when an older version of llmtui could not resume from a checkpoint correctly."""


class TrainingState(Struct, kw_only=True):
    """State of a training other than its tensors."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Of training, without pauses."""
    best: float | None = None
    """Lowest validation loss so far, in nats per token."""
    stale: int = 0
    """Scheduled evaluations in a row that were no better than `best`."""
    below: float | None = None
    """The value of `rules.below` at which that rule has acted; None before."""
    finished: bool = False
    micro_batch: int = 0
    """Sequences in one forward pass that fit the memory; 0: not measured yet."""
    rate_factor: float = 1.0
    """Factor of every learning rate: less than 1 after a step back."""
    compiled: bool | None = None
    """Whether the blocks are compiled; None: not decided yet."""
    dtype: str = "float32"
    """Computation dtype, chosen for the machine; a resumed training keeps it."""
    muon_dtype: str = "bfloat16"
    """Dtype of Muon's matrix products. Older checkpoints lack it; they were made with bfloat16."""


class TrainingInputs(Struct, frozen=True):
    """Recipe and data of a training. Recorded in its checkpoints and compared on resume."""

    recipe: Recipe
    tokens: Artifact
    fingerprint: str
    """Of recipe and tokens."""
    vocabulary: bytes = b""
    """vocabulary.json, read at the start: the artifact may have been deleted when a checkpoint is saved."""

    def __post_init__(self) -> None:
        vocabulary = (self.tokens.path / "vocabulary.json").read_bytes()
        msgspec.structs.force_setattr(self, "vocabulary", vocabulary)


RandomStates = Mapping[str, Tensor]
"""Random generator states of one rank, by generator: "torch", "cuda"."""


def get_random_states() -> RandomStates:
    """The random states of this process."""
    states = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: RandomStates) -> None:
    """Set the random states of this process; a generator missing from `states` is left alone."""
    if "torch" in states:
        torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


class Snapshot(NamedTuple):
    """The contents of a checkpoint. The tensors are those being trained, unless `copied` made it."""

    state: TrainingState
    inputs: TrainingInputs
    facts: Facts
    model: bytes
    """model.json."""
    weights: dict[str, Tensor]
    training: dict[str, Tensor]
    """Optimizer state and random states."""

    @classmethod
    def take(
        cls,
        parallel: DataParallel,
        optimizers: Sequence[Optimizer],
        state: TrainingState,
        inputs: TrainingInputs,
        facts: Facts | None = None,
        random_states: Sequence[RandomStates] | None = None,
    ) -> Snapshot:
        """The current state of a training, whole on rank 0. Collective.

        random_states: of every rank; default: of this process alone.
        """
        model = parallel.model
        random_states = [get_random_states()] if random_states is None else random_states
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        optimizer_state = {
            f"optim.{names[id(parameter)]}.{key}": parallel.gather(value.detach())
            for optimizer in optimizers
            for parameter, values in optimizer.state.items()
            for key, value in values.items()
        }
        random = {
            f"rng.{generator}.{rank}": value
            for rank, states in enumerate(random_states)
            for generator, value in states.items()
        }
        own: Facts = {"step": state.step, "finished": int(state.finished), "format": FORMAT}
        own |= {"world_size": len(random_states), "torch": str(torch.__version__)}
        return cls(
            state=msgspec.structs.replace(state),
            inputs=inputs,
            facts=own | (facts or {}),
            model=model_json(model),
            weights={name: parallel.gather(tensor) for name, tensor in state_tensors(model).items()},
            training=optimizer_state | random,
        )

    @property
    def bytes(self) -> int:
        """Size of the tensors in bytes: 12 per parameter with AdamW, 8 with Muon."""
        return sum(tensor.nbytes for part in (self.weights, self.training) for tensor in part.values())

    @property
    def size(self) -> int:
        """Upper bound of the size on disk, in bytes."""
        headers = sum(len(name) + 200 for part in (self.weights, self.training) for name in part)
        return self.bytes + headers + len(self.model) + len(self.inputs.vocabulary) + 2**16

    def copied(self) -> Snapshot:
        """A copy with its own memory, so that training can continue. From a GPU it is copied into pinned memory."""
        copy = self._replace(
            weights={name: _copied(tensor) for name, tensor in self.weights.items()},
            training={name: _copied(tensor) for name, tensor in self.training.items()},
        )
        if any(tensor.is_cuda for tensor in self.weights.values()):
            torch.cuda.current_stream().synchronize()
        return copy

    def write(self, directory: Path) -> Artifact:
        """Write `directory/step-XXXXXXXX` atomically. Raises OSError; then nothing is left on the disk."""

        def fill(staged: Path) -> None:
            (staged / "vocabulary.json").write_bytes(self.inputs.vocabulary)
            (staged / "model.json").write_bytes(self.model)
            write_tensors(self.weights, staged / "model.safetensors")
            write_tensors(self.training, staged / "train.safetensors")
            (staged / "state.json").write_bytes(msgspec.json.encode(self.state))

        recipe = self.inputs.recipe
        return write_directory(
            directory / checkpoint_name(self.state.step),
            "train",
            self.inputs.fingerprint,
            fill,
            inputs={"tokens": self.inputs.tokens.content_fingerprint()},
            recipe=msgspec.to_builtins({"model": recipe.model, "train": recipe.train}),
            facts=self.facts,
        )


def _copied(tensor: Tensor) -> Tensor:
    if tensor.is_cuda:
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    if tensor.device.type == "cpu":
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor.cpu()


def newest_checkpoint(directory: Path) -> tuple[Artifact | None, list[str]]:
    """The newest intact checkpoint (digests are compared), and descriptions of the newer, damaged ones.

    Raises NewerCheckpointError if a later version of llmtui saved it: skipping it would lose its progress.
    """
    found, skipped = select_checkpoint(directory, "last", verify=True)
    for path, error in skipped:
        if isinstance(error, NewerVersionError):
            raise _newer(path, error.what)
    if found is not None and int(found.facts.get("format", 1)) > FORMAT:
        raise _newer(found.path, f"it was made by a newer version of llmtui ({found.manifest.version})")
    return found, [str(damaged) for damaged in skipped]


def _newer(path: Path, what: str) -> NewerCheckpointError:
    return NewerCheckpointError(
        f"of its newest checkpoint, {what}",
        where=str(path),
        kept="no checkpoint was touched",
        todo="update llmtui; or move this checkpoint away to continue from the one before it",
    )


def restore(
    checkpoint: Artifact, parallel: DataParallel, optimizers: Sequence[Optimizer], rank: int = 0
) -> TrainingState:
    """Load a checkpoint into a model, its `optimizers` and torch's random state. Raises WeightsError.

    rank: whose random states are restored; a rank without saved ones keeps its own.
    """
    parallel.load_weights(checkpoint.path)
    names = {id(parameter): name for name, parameter in parallel.model.named_parameters()}
    try:
        state = read_json(checkpoint.path / "state.json", TrainingState)
        with safe_open(checkpoint.path / "train.safetensors", framework="pt") as file:  # one tensor in memory at a time
            saved = list(file.keys())
            unused = {name for name in saved if name.startswith("optim.")}
            for optimizer in optimizers:
                for parameter in (one for group in optimizer.param_groups for one in group["params"]):
                    prefix = f"optim.{names[id(parameter)]}."
                    for name in [name for name in saved if name.startswith(prefix) and name in unused]:
                        key = name.removeprefix(prefix)
                        optimizer.state[parameter][key] = parallel.place(file.get_tensor(name), parameter)
                        unused.remove(name)
            names_of_states = ((generator, f"rng.{generator}.{rank}") for generator in ("torch", "cuda"))
            random_states = {generator: file.get_tensor(name) for generator, name in names_of_states if name in saved}
    except (OSError, SafetensorError, ParseError) as error:
        raise WeightsError(f"its training state cannot be read ({error})", where=str(checkpoint.path)) from None
    if unused:
        raise WeightsError(f"no trained parameter belongs to {min(unused)}", where=str(checkpoint.path))
    set_random_states(random_states)
    return state


def delete_superseded(saved: Artifact, keep: int, pinned: Collection[int] = ()) -> None:
    """Delete all checkpoints but the newest `keep`, up to and including `saved`, the best one, and those of the steps
    `pinned`.

    Checkpoints of later steps are deleted, too: the training could not resume from them, or it would not have saved
    this step again. Those of a later version of llmtui are kept.
    """
    found: list[Artifact] = []
    for path in checkpoint_paths(saved.path.parent):
        try:
            checkpoint = Artifact.open(path)
        except NewerVersionError:
            continue
        except DamagedError:
            remove_tree(path)
            continue
        if step_of(path) > step_of(saved.path):
            remove_tree(path)
        else:
            found.append(checkpoint)
    best = best_checkpoint(found)
    for checkpoint in found[keep:]:
        if checkpoint is not best and step_of(checkpoint.path) not in pinned:
            remove_tree(checkpoint.path)
