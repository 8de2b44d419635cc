"""What a model is trained on at a step, and the loss of each token of it under the weights of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import UsageError
from core.model.batches import Batches
from core.model.gpt import GPT
from core.model.inference import inference
from core.model.loss import IGNORE
from core.model.objectives import Objective
from core.sample.inspect.figures import finite_floats, token_info
from core.sample.token_protocol import NO_TARGET, BatchRow, BatchSource, RowLosses, TrainingBatch
from core.storage.artifact import Artifact
from core.tokenize.shards import TokenStream
from core.tokenize.vocabulary import Vocabulary

CHUNK_TOKENS = 2048
"""Tokens per forward pass, or one row if that is longer; other requests get their turn in between."""
LOGIT_ROWS = 256
"""Rows of logits computed at a time: 51 MB with GPT-2's vocabulary."""

assert NO_TARGET == IGNORE


class TokensGoneError(UsageError):
    """The token shards were deleted."""

    doing = "read the batch"


class BatchModelError(UsageError):
    """The checkpoint was not trained on these tokens."""

    doing = "compute the losses"


class TrainingExamples:
    """The examples of one training step over all processes, as `core.train.step_runner` makes them."""

    def __init__(self, source: BatchSource) -> None:
        """Raises TokensGoneError, DamagedError, ShardError, VocabularyError, TooFewTokensError."""
        if not Path(source.tokens).is_dir():
            todo = "`llmtui data prepare` with the run's recipe makes them again"
            raise TokensGoneError("its tokens are no longer on this machine", where=source.tokens, todo=todo)
        artifact = Artifact.open(Path(source.tokens))
        self.step = source.step
        self._vocabulary = Vocabulary.load(artifact.path / "vocabulary.json")
        self._mask = self._vocabulary.size if source.model.objective == "masked" else None
        self._batches = Batches(
            TokenStream(artifact.files("train-*.tokens")),
            block_size=source.model.block_size,
            batch_size=source.train.batch_size,
            seed=source.train.seed,
        )
        objective = Objective(source.train, mask_token_id=self._mask)
        rows = range(source.train.batch_size)
        self.examples = objective(self._batches(self.step - 1), step=self.step - 1, indices=rows)

    def describe(self) -> TrainingBatch:
        """The rows, and what each of their ids stands for."""
        examples = self.examples
        weights = [1.0] * len(examples.ids) if examples.weights is None else examples.weights[:, 0].tolist()
        rows = tuple(
            BatchRow(start=start, inputs=tuple(ids), targets=tuple(targets), weight=weight)
            for start, ids, targets, weight in zip(
                self._batches.starts(self.step - 1),
                examples.ids.tolist(),
                examples.targets.tolist(),
                weights,
                strict=True,
            )
        )
        used = {token for row in rows for token in (*row.inputs, *row.targets)} - {NO_TARGET}
        return TrainingBatch(
            step=self.step,
            epoch=self._batches.epoch(self.step - 1) + 1,
            rows=rows,
            count=examples.count,
            end_of_text=self._vocabulary.end_of_text,
            masked=self._mask is not None,
            tokens=tuple(token_info(self._vocabulary, token, mask=self._mask) for token in sorted(used)),
        )

    def check_model(self, model: GPT) -> None:
        """Raise BatchModelError if `model` cannot be of the run that is trained on these examples."""
        if (model.vocab_size, model.mask_token_id) != (self._vocabulary.size, self._mask):
            raise BatchModelError(
                f"the model has {model.vocab_size:,} entries in its vocabulary, and these tokens are of "
                f"{self._vocabulary.size:,}",
                todo="choose a checkpoint of the run that was trained on them",
            )

    def losses(self, model: GPT) -> Iterator[RowLosses]:
        """The losses of each row in order, each computed on demand."""
        examples, row = self.examples, 0
        rows = max(1, CHUNK_TOKENS // examples.ids.shape[1])
        for ids, targets, _ in examples.micro_batches(rows, model.device):
            with inference(model, dtype=torch.float32):
                nats = _token_losses(model, ids, targets)
            for values, target in zip(nats, targets, strict=True):
                known = zip(finite_floats(values), target.tolist(), strict=True)
                yield RowLosses(row=row, nats=tuple(None if token == IGNORE else value for value, token in known))
                row += 1


def _token_losses(model: GPT, ids: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy (B, T) at each position in nats; meaningless where there is no target."""
    hidden_states = model.hidden_states(ids).flatten(0, 1)  # (B, T, C) -> (B * T, C)
    wanted = targets.flatten().clamp(min=0)
    chunks = [slice(start, start + LOGIT_ROWS) for start in range(0, len(wanted), LOGIT_ROWS)]
    losses = [F.cross_entropy(model.logits(hidden_states[c]), wanted[c], reduction="none") for c in chunks]
    return torch.cat(losses).view(ids.shape)
