"""Checkpoints: everything needed to go on as if nothing had happened, and to draw text, in one directory.

    model.json  model.safetensors     the model; loadable by anything
    vocabulary.json                   so that the checkpoint speaks for itself
    train.safetensors                 the optimisers' averages, and each rank's random states
    state.json                        the numbers in `State`
    manifest.json                     written last: sizes and digests of all of them, and what the training is of

A directory without its manifest does not exist: it is staged under another name and renamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from core.checkpoints import best_checkpoint, checkpoint_name, checkpoint_paths, select_checkpoint, step_of
from core.model.gpt import GPT
from core.model.weights import WeightsError, description, load_weights, weights, write_tensors
from core.parsing import ParseError, read_json
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact, DamagedError, Facts, NewerVersionError, write_directory
from core.storage.files import remove_tree
from core.train.resume_compat import NewerCheckpointError

FORMAT = 1
"""Of what lies in a checkpoint. Higher where an older version could not go on from one, or would do so wrongly."""


class State(Struct, kw_only=True):
    """Where the training is, beside weights and averages."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Of training, pauses left out."""
    best: float | None = None
    """Lowest validation loss so far, in nats per token."""
    stale: int = 0
    """Evaluations in a row that were no better than `best`; those that only a checkpoint asked for do not count."""
    finished: bool = False
    micro_batch: int = 0
    """Sequences in one forward pass, as many as have been found to fit; 0 before that."""
    rate_factor: float = 1.0
    """Of every learning rate: less than 1 once the training has stepped back."""
    compiled: bool | None = None
    """Whether the blocks run as compiled programs; None before it was decided."""
    dtype: str = "float32"
    """What the arithmetic is done in: a choice of the machine's that a resumed training keeps."""
    muon_dtype: str = "bfloat16"
    """The same of Muon's products; bfloat16 where a checkpoint does not say, since there was no choice then."""


class Origin(Struct, frozen=True):
    """What a training is of: a checkpoint records it, and is compared with it when it is gone on from."""

    recipe: Recipe
    tokens: Artifact
    fingerprint: str
    """Of both."""
    vocabulary: bytes = b""
    """vocabulary.json, read at once: the artifact may be gone when a checkpoint is saved."""

    def __post_init__(self) -> None:
        vocabulary = (self.tokens.path / "vocabulary.json").read_bytes()
        msgspec.structs.force_setattr(self, "vocabulary", vocabulary)


RandomStates = Mapping[str, Tensor]
"""The states of one rank's random generators, by where they are: "torch", "cuda"."""


def random_states() -> RandomStates:
    """Those of this process."""
    states = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def put_random_states(states: RandomStates) -> None:
    """Let this process draw on from `states`; where there is none for a generator it goes on as it is."""
    if "torch" in states:
        torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


class Snapshot(NamedTuple):
    """What a checkpoint is made of. The tensors are those being trained, unless `copied` made it."""

    state: State
    origin: Origin
    facts: Facts
    model: bytes
    """model.json."""
    weights: dict[str, Tensor]
    training: dict[str, Tensor]

    @classmethod
    def take(
        cls,
        model: GPT,
        optimizers: Sequence[Optimizer],
        state: State,
        origin: Origin,
        facts: Facts | None = None,
        ranks: Sequence[RandomStates] | None = None,
    ) -> Snapshot:
        """The training as it is. ranks: the random states of every rank; left out, there is only this process."""
        ranks = [random_states()] if ranks is None else ranks
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        averages = {
            f"optim.{names[id(parameter)]}.{key}": value.detach()
            for optimizer in optimizers
            for parameter, values in optimizer.state.items()
            for key, value in values.items()
        }
        random = {f"rng.{where}.{rank}": value for rank, states in enumerate(ranks) for where, value in states.items()}
        known: Facts = {"step": state.step, "finished": int(state.finished), "format": FORMAT}
        known |= {"world_size": len(ranks), "torch": str(torch.__version__)}
        return cls(
            state=msgspec.structs.replace(state),
            origin=origin,
            facts=known | (facts or {}),
            model=description(model),
            weights=weights(model),
            training=averages | random,
        )

    @property
    def bytes(self) -> int:
        """What the tensors take, in memory as on the disk: for AdamW 12 for each parameter, for Muon 8."""
        return sum(tensor.nbytes for part in (self.weights, self.training) for tensor in part.values())

    @property
    def size(self) -> int:
        """Bytes that the checkpoint will take on the disk, rounded up."""
        headers = sum(len(name) + 200 for part in (self.weights, self.training) for name in part)
        return self.bytes + headers + len(self.model) + len(self.origin.vocabulary) + 2**16

    def copied(self) -> Snapshot:
        """The same in memory of its own, so that training may go on. From a GPU it is copied into pinned memory."""
        copy = self._replace(
            weights={name: _copied(tensor) for name, tensor in self.weights.items()},
            training={name: _copied(tensor) for name, tensor in self.training.items()},
        )
        if any(tensor.is_cuda for tensor in self.weights.values()):
            torch.cuda.current_stream().synchronize()
        return copy

    def write(self, directory: Path) -> Artifact:
        """Write `directory/step-XXXXXXXX`, all of it or nothing. Raises OSError; a full disk leaves nothing behind."""

        def fill(staged: Path) -> None:
            (staged / "vocabulary.json").write_bytes(self.origin.vocabulary)
            (staged / "model.json").write_bytes(self.model)
            write_tensors(self.weights, staged / "model.safetensors")
            write_tensors(self.training, staged / "train.safetensors")
            (staged / "state.json").write_bytes(msgspec.json.encode(self.state))

        recipe = self.origin.recipe
        return write_directory(
            directory / checkpoint_name(self.state.step),
            "train",
            self.origin.fingerprint,
            fill,
            inputs={"tokens": self.origin.tokens.content()},
            recipe=msgspec.to_builtins({"model": recipe.model, "train": recipe.train}),
            facts=self.facts,
        )


def _copied(tensor: Tensor) -> Tensor:
    if tensor.is_cuda:
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    if tensor.device.type == "cpu":
        return tensor.clone(memory_format=torch.contiguous_format)
    return tensor.cpu()


def newest(directory: Path) -> tuple[Artifact | None, list[str]]:
    """The newest checkpoint whose every byte is as written, and the newer ones that are not, with their damage.

    Raises NewerVersionError where a later version of llmtui made it: to go back behind it would lose what that one
    has done.
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
        todo="update llmtui; or move this checkpoint away to go on from the one before it",
    )


def restore(checkpoint: Artifact, model: GPT, optimizers: Sequence[Optimizer], rank: int = 0) -> State:
    """Put a checkpoint into `model`, `optimizers` and torch's random state. Raises WeightsError.

    rank: whose random states; a rank that there was none of keeps its own.
    """
    load_weights(model, checkpoint.path)
    try:
        tensors = load_file(checkpoint.path / "train.safetensors")
        state = read_json(checkpoint.path / "state.json", State)
    except (OSError, SafetensorError, ParseError) as error:
        raise WeightsError(f"its training state cannot be read ({error})", where=str(checkpoint.path)) from None
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    averages = {name for name in tensors if name.startswith("optim.")}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                prefix = f"optim.{names[id(parameter)]}."
                for name in [name for name in averages if name.startswith(prefix)]:
                    optimizer.state[parameter][name.removeprefix(prefix)] = tensors[name].to(parameter.device)
                    averages.remove(name)
    if averages:
        raise WeightsError(f"nothing here is trained that {min(averages)} could be of", where=str(checkpoint.path))
    own = ((where, f"rng.{where}.{rank}") for where in ("torch", "cuda"))
    put_random_states({where: tensors[name] for where, name in own if name in tensors})
    return state


def retain(saved: Artifact, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, of which `saved` is the last, and the best on the slice.

    What is there of later steps is what the training could not go on from, or it would not have come by here again.
    A newer version's checkpoints are left alone.
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
        if checkpoint is not best:
            remove_tree(checkpoint.path)
