"""The models an inference process has in memory."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

import torch
from msgspec import Struct

from core.checkpoints import checkpoint_paths, step_of
from core.errors import LlmtuiError
from core.hardware import available_memory
from core.model.gpt import GPT
from core.model.kv_cache import kv_cache_bytes
from core.model.weights import WeightsError, load_model
from core.recipe.sampling import Precision
from core.sample.precision import SMALL, keep
from core.storage.artifact import MANIFEST, Artifact, DamagedError
from core.storage.files import sha256
from core.tokenize.vocabulary import Vocabulary, VocabularyError

MOST = 2
"""Models kept: two can be compared without loading them anew for every prompt."""
READ = ("model.json", "model.safetensors", "vocabulary.json")
"""What is read of a checkpoint."""
_PATIENCE = 0.01
"""Seconds that a model in the making is waited for before others get their turn."""
_BESIDE = 2**26
"""Bytes wanted beside the weights: a cache, a prompt, products."""


class ModelMemoryError(LlmtuiError):
    doing = "load the model"


class Model(Struct, frozen=True, weakref=True):
    gpt: GPT
    vocabulary: Vocabulary
    checkpoint: Path
    step: int
    precision: str
    """In words."""


class Found(NamedTuple):
    model: Model
    passed_over: tuple[str, ...]
    """Newer checkpoints that cannot be read, each with what is wrong with it."""


class _Key(NamedTuple):
    """One state of a checkpoint on the disk: another file under the same name is another one."""

    path: str
    inode: int
    written: int
    size: int
    precision: Precision

    @classmethod
    def of(cls, checkpoint: Path, precision: Precision) -> _Key:
        """Raises OSError where there is none."""
        found = (checkpoint / "model.safetensors").stat()
        if precision == "auto" and found.st_size < 4 * SMALL:
            precision = "float32"  # which it comes to anyway: one model then serves both
        return cls(str(checkpoint), found.st_ino, found.st_mtime_ns, found.st_size, precision)


class Models:
    """Loads what is asked for and keeps what was used last.

    Whoever is at work with a model holds it: it stays whatever else is loaded, and is not loaded a second time.
    """

    def __init__(self) -> None:
        self._kept: dict[_Key, Model] = {}
        self._alive: WeakValueDictionary[_Key, Model] = WeakValueDictionary()
        self._coming: dict[_Key, Future[Model]] = {}
        self._damaged: dict[_Key, str] = {}
        self._loader = ThreadPoolExecutor(1)  # one after the other: each sees what memory is left

    def get(self, place: Path, precision: Precision = "auto") -> Generator[None, None, Found]:
        """The model in the directory `place`, or in the newest checkpoint in it that can be read, as it is now.

        Others may go on wherever it yields. Raises WeightsError, VocabularyError, DamagedError, ModelMemoryError.
        """
        passed: list[str] = []
        for checkpoint in _checkpoints(place):
            try:
                key = _Key.of(checkpoint, precision)
                if checkpoint != place and key in self._damaged:
                    raise DamagedError(self._damaged[key])
                model = self._alive.get(key) or (yield from self._load(key))
            except OSError as error:
                passed.append(f"{checkpoint.name}: it cannot be read ({error.strerror})")
                continue
            except (DamagedError, WeightsError, VocabularyError) as trouble:
                if checkpoint == place:
                    raise
                if isinstance(trouble, DamagedError):  # what cannot be read now may be readable later
                    self._damaged[key] = trouble.what
                passed.append(f"{checkpoint.name}: {trouble.what}")
                continue
            self._keep(key, model)
            return Found(model, tuple(passed))
        if passed and place.exists():
            raise WeightsError(f"no checkpoint here can be read: {'; '.join(passed)}", where=str(place))
        if not place.is_dir() or place.name.startswith("step-"):
            raise WeightsError("this checkpoint is no longer there", where=str(place), todo="choose another one")
        raise WeightsError(
            "there is no checkpoint here yet", where=str(place), todo="ask again when its training has saved one"
        )

    @property
    def held(self) -> bool:
        """Whether there is anything to `drop`."""
        return bool(self._kept or self._coming)

    def drop(self) -> None:
        """Give all memory back but that of models at work."""
        self._kept.clear()
        self._coming = {key: future for key, future in self._coming.items() if not future.done()}
        gc.collect()
        if sys.platform == "linux":
            with suppress(OSError, AttributeError):  # a C library other than glibc
                ctypes.CDLL(None).malloc_trim(0)

    def _keep(self, key: _Key, model: Model) -> None:
        self._alive[key] = model
        self._kept.pop(key, None)
        self._kept[key] = model
        self._make_room(MOST)

    def _make_room(self, most: int) -> None:
        while len(self._kept) > max(0, most):  # the one used longest ago goes first
            del self._kept[next(iter(self._kept))]

    def _load(self, key: _Key) -> Generator[None, None, Model]:
        """By a thread of its own, once, whoever else asks for it meanwhile."""
        for other in [other for other, future in self._coming.items() if future.done() and other != key]:
            del self._coming[other]  # nobody waited for it to the end
        if key not in self._coming:
            self._make_room(MOST - 1 - len(self._coming))
            if _needed(key) > available_memory():
                self.drop()
            self._coming[key] = self._loader.submit(_loaded, key)
        future = self._coming[key]
        while not wait([future], _PATIENCE).done:
            yield
        self._coming.pop(key, None)
        return future.result()


def ensure_room(gpt: GPT, texts: int) -> None:
    """Raises ModelMemoryError where the keys and values of so many texts would not fit the memory."""
    needed, free = 0 if gpt.mask_token_id is not None else texts * kv_cache_bytes(gpt.config), available_memory()
    if needed > free:
        raise ModelMemoryError(
            f"{texts} texts at once would take {needed / 2**20:,.0f} MiB of memory, and {free / 2**20:,.0f} are free",
            todo="ask for fewer at once",
        )


def _checkpoints(place: Path) -> list[Path]:
    """`place` itself, or the checkpoints in it, the newest first."""
    if (place / "model.safetensors").exists():
        return [place]
    return checkpoint_paths(place)


def _needed(key: _Key) -> int:
    return key.size + _BESIDE


def _loaded(key: _Key) -> Model:
    """Raises WeightsError, VocabularyError, DamagedError, ModelMemoryError, PrecisionUnavailableError."""
    checkpoint, free = Path(key.path), available_memory()
    if _needed(key) > free:
        raise ModelMemoryError(
            f"it would take {_needed(key) / 2**20:,.0f} MiB of memory, and {free / 2**20:,.0f} MiB are free",
            where=key.path,
            todo="close what else takes memory, or choose a smaller model",
        )
    if (checkpoint / MANIFEST).exists():
        facts = Artifact.open(checkpoint).manifest.files
        for name in READ:
            if name in facts and sha256(checkpoint / name) != facts[name].sha256:
                raise DamagedError(f"{name} has changed since it was written", where=key.path)
    gpt, vocabulary = load_model(checkpoint), Vocabulary.load(checkpoint / "vocabulary.json")
    if vocabulary.size != gpt.vocab_size:
        what = f"vocabulary.json has {vocabulary.size:,} entries, model.json says {gpt.vocab_size:,}"
        raise VocabularyError(what, where=key.path, todo="choose another checkpoint")
    words = keep(gpt, key.precision, parameters=gpt.parameter_count())
    for parameter in gpt.parameters():
        if parameter.dtype == torch.float32:  # out of the file, which somebody may write over
            parameter.data = parameter.data.clone()
    return Model(
        gpt=gpt,
        vocabulary=vocabulary,
        checkpoint=checkpoint,
        step=step_of(checkpoint),
        precision=words,
    )
