"""The models that an inference process has in memory."""

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
from core.sample.precision import ALWAYS_FLOAT32_BELOW, convert_weights
from core.storage.artifact import MANIFEST, Artifact, DamagedError
from core.storage.files import sha256
from core.tokenize.vocabulary import Vocabulary, VocabularyError

MAX_MODELS = 2
"""Models kept in memory: two can be compared without loading them again for every prompt."""
CHECKPOINT_FILES = ("model.json", "model.safetensors", "vocabulary.json")
"""Files of a checkpoint that are loaded."""
_LOAD_POLL_INTERVAL = 0.01
"""Seconds to wait for a model that is being loaded before other requests get their turn."""
_OVERHEAD_BYTES = 2**26
"""Memory needed in addition to the weights: KV cache, prompt, intermediate results."""


class ModelMemoryError(LlmtuiError):
    """Not enough memory for the model, or for its KV caches."""

    doing = "load the model"


class LoadedModel(Struct, frozen=True, weakref=True):
    """A model and its vocabulary."""

    gpt: GPT
    vocabulary: Vocabulary
    checkpoint: Path
    step: int
    """The training step of the weights."""
    precision: str
    """Number format of the weights and why it was chosen, as a sentence."""


class LoadResult(NamedTuple):
    model: LoadedModel
    passed_over: tuple[str, ...]
    """Newer checkpoints that cannot be read, each with the reason."""


class _CacheKey(NamedTuple):
    """A checkpoint's file on disk; replacing the file changes the key."""

    path: str
    inode: int
    modified_ns: int
    size: int
    precision: Precision

    @classmethod
    def of(cls, checkpoint: Path, precision: Precision) -> _CacheKey:
        """Raises OSError if there is no such checkpoint."""
        stat = (checkpoint / "model.safetensors").stat()
        if precision == "auto" and stat.st_size < 4 * ALWAYS_FLOAT32_BELOW:
            precision = "float32"  # the result of auto: one model serves both
        return cls(str(checkpoint), stat.st_ino, stat.st_mtime_ns, stat.st_size, precision)


class ModelCache:
    """Loads models on demand and keeps the most recently used ones.

    A model that a request holds stays in memory whatever else is loaded, and is not loaded a second time.
    """

    def __init__(self) -> None:
        self._recent: dict[_CacheKey, LoadedModel] = {}
        """Least recently used first."""
        self._alive: WeakValueDictionary[_CacheKey, LoadedModel] = WeakValueDictionary()
        self._loading: dict[_CacheKey, Future[LoadedModel]] = {}
        self._damaged: dict[_CacheKey, str] = {}
        self._executor = ThreadPoolExecutor(1)  # one at a time: each checks the memory that is left

    def get(self, path: Path, precision: Precision = "auto") -> Generator[None, None, LoadResult]:
        """The model in the directory `path`, or in the newest readable checkpoint in it.

        Yields while it is being loaded. Raises WeightsError, VocabularyError, DamagedError, ModelMemoryError.
        """
        passed_over: list[str] = []
        for checkpoint in _candidates(path):
            try:
                key = _CacheKey.of(checkpoint, precision)
                if checkpoint != path and key in self._damaged:
                    raise DamagedError(self._damaged[key])
                model = self._alive.get(key) or (yield from self._load(key))
            except OSError as error:
                passed_over.append(f"{checkpoint.name}: it cannot be read ({error.strerror})")
                continue
            except (DamagedError, WeightsError, VocabularyError) as error:
                if checkpoint == path:
                    raise
                if isinstance(error, DamagedError):  # other errors may be temporary
                    self._damaged[key] = error.what
                passed_over.append(f"{checkpoint.name}: {error.what}")
                continue
            self._add(key, model)
            return LoadResult(model, tuple(passed_over))
        if passed_over and path.exists():
            raise WeightsError(f"none of the checkpoints can be read: {'; '.join(passed_over)}", where=str(path))
        if not path.is_dir() or path.name.startswith("step-"):
            raise WeightsError("this checkpoint has been deleted", where=str(path), todo="choose another one")
        raise WeightsError("there is no checkpoint yet", where=str(path), todo="try again once training has saved one")

    @property
    def loaded(self) -> bool:
        """Whether there is anything to `unload`."""
        return bool(self._recent or self._loading)

    def unload(self) -> None:
        """Free the memory of all models that no request holds."""
        self._recent.clear()
        self._loading = {key: future for key, future in self._loading.items() if not future.done()}
        gc.collect()
        if sys.platform == "linux":
            with suppress(OSError, AttributeError):  # a C library other than glibc
                ctypes.CDLL(None).malloc_trim(0)

    def _add(self, key: _CacheKey, model: LoadedModel) -> None:
        self._alive[key] = model
        self._recent.pop(key, None)
        self._recent[key] = model
        self._evict(MAX_MODELS)

    def _evict(self, max_models: int) -> None:
        while len(self._recent) > max(0, max_models):
            del self._recent[next(iter(self._recent))]

    def _load(self, key: _CacheKey) -> Generator[None, None, LoadedModel]:
        """Loads in a thread; concurrent requests for the same model share one load."""
        for other in [other for other, future in self._loading.items() if future.done() and other != key]:
            del self._loading[other]  # cancelled by its requests
        if key not in self._loading:
            self._evict(MAX_MODELS - 1 - len(self._loading))
            if _required_bytes(key) > available_memory():
                self.unload()
            self._loading[key] = self._executor.submit(_load_checkpoint, key)
        future = self._loading[key]
        while not wait([future], _LOAD_POLL_INTERVAL).done:
            yield
        self._loading.pop(key, None)
        return future.result()


def ensure_memory(gpt: GPT, texts: int) -> None:
    """Raises ModelMemoryError if the KV caches of `texts` texts do not fit the available memory."""
    needed, free = 0 if gpt.mask_token_id is not None else texts * kv_cache_bytes(gpt.config), available_memory()
    if needed > free:
        raise ModelMemoryError(
            f"{texts} texts at once would need {needed / 2**20:,.0f} MiB of memory, and {free / 2**20:,.0f} are free",
            todo="ask for fewer at once",
        )


def _candidates(path: Path) -> list[Path]:
    """`path` itself if it is a checkpoint, or the checkpoints in it, newest first."""
    if (path / "model.safetensors").exists():
        return [path]
    return checkpoint_paths(path)


def _required_bytes(key: _CacheKey) -> int:
    return key.size + _OVERHEAD_BYTES


def _load_checkpoint(key: _CacheKey) -> LoadedModel:
    """Raises WeightsError, VocabularyError, DamagedError, ModelMemoryError, PrecisionUnavailableError."""
    checkpoint, free = Path(key.path), available_memory()
    if _required_bytes(key) > free:
        raise ModelMemoryError(
            f"it would take {_required_bytes(key) / 2**20:,.0f} MiB of memory, and {free / 2**20:,.0f} MiB are free",
            where=key.path,
            todo="close what else takes memory, or choose a smaller model",
        )
    if (checkpoint / MANIFEST).exists():
        files = Artifact.open(checkpoint).manifest.files
        for name in CHECKPOINT_FILES:
            if name in files and sha256(checkpoint / name) != files[name].sha256:
                raise DamagedError(f"{name} has changed since it was written", where=key.path)
    gpt, vocabulary = load_model(checkpoint), Vocabulary.load(checkpoint / "vocabulary.json")
    if vocabulary.size != gpt.vocab_size:
        what = f"vocabulary.json has {vocabulary.size:,} entries, model.json says {gpt.vocab_size:,}"
        raise VocabularyError(what, where=key.path, todo="choose another checkpoint")
    precision = convert_weights(gpt, key.precision, parameters=gpt.parameter_count())
    for parameter in gpt.parameters():
        if parameter.dtype == torch.float32:  # copied out of the memory-mapped file, which may be overwritten
            parameter.data = parameter.data.clone()
    return LoadedModel(
        gpt=gpt,
        vocabulary=vocabulary,
        checkpoint=checkpoint,
        step=step_of(checkpoint),
        precision=precision,
    )
