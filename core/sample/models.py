"""The models a sampler process has in memory."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from core.model.gpt import GPT
from core.model.weights import BadWeights, load_model
from core.sampling import Precision
from core.tokenize.vocabulary import Vocabulary

MOST = 2
"""Models kept: two can be compared without loading them anew for every prompt."""


class Model(Struct, frozen=True):
    gpt: GPT
    vocabulary: Vocabulary
    checkpoint: Path
    step: int
    precision: str
    """In words."""


class Models:
    """Loads what is asked for and keeps what was used last."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, Precision], Model] = {}

    def get(self, checkpoint: Path, precision: Precision = "auto") -> Model:
        """The model in the directory `checkpoint`, loaded anew when the file there is another one. Raises BadWeights,
        BadVocabulary."""
        try:
            key = (str(checkpoint), (checkpoint / "model.safetensors").stat().st_mtime_ns, precision)
        except OSError:
            raise BadWeights("this checkpoint is no longer there", todo="choose another one") from None
        model = self._kept.pop(key, None)
        if model is None:
            while len(self._kept) >= MOST:  # free the oldest before the new one needs the memory
                del self._kept[next(iter(self._kept))]
            digits = checkpoint.name.removeprefix("step-")
            model = Model(
                gpt=load_model(checkpoint),
                vocabulary=Vocabulary.load(checkpoint / "vocabulary.json"),
                checkpoint=checkpoint,
                step=int(digits) if digits.isdecimal() else 0,
                precision="float32",
            )
        self._kept[key] = model
        return model
