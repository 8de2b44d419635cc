"""Clean documents become a vocabulary and token shards: the third stage."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial

import tiktoken

from core.artifact import Artifact, Staging
from core.download.documents import read_parts
from core.download.progress import Meter
from core.events import Event, Note
from core.recipe import Tokenize
from core.tokenize.background import in_background
from core.tokenize.bpe import SAMPLE_BYTES, learn, sample
from core.tokenize.encode import encode_split
from core.tokenize.shards import dtype_for
from core.tokenize.vocabulary import Vocabulary
from core.trouble import Trouble

__all__ = ["FORMAT", "NoVocabulary", "tokenize"]

FORMAT = 1
"""Changes when the same text and recipe would give other tokens."""
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
"""tiktoken's own, which cuts as GPT-2's does but faster; written here so that no other version of it changes files."""
DOWNLOAD_SECONDS = 90.0
"""Patience for the 1.5 MB of GPT-2's vocabulary; tiktoken itself would wait for ever."""
_FILE = "vocabulary.json"


class NoVocabulary(Trouble):
    """GPT-2's vocabulary is not on this machine and could not be fetched."""

    doing = "get the gpt2 vocabulary"


def tokenize(recipe: Tokenize, clean: Artifact, out: Staging) -> Generator[Event, None, Artifact]:
    """Write `vocabulary.json` and the token shards `train-*.tokens` and `validation-*.tokens`.

    An own vocabulary is learned from the training text alone. After a break it goes on behind the last complete
    shard. Yields Progress in bytes of text, those learned from counted too, and Notes about the vocabulary.
    Facts: vocabulary (its name), vocabulary_size, train_tokens, validation_tokens, train_bytes, validation_bytes,
    bytes_per_token (on validation, end-of-text marks counted as tokens), dtype. Raises NoVocabulary.
    """
    learned = 0 if recipe.vocabulary == "gpt2" else min(SAMPLE_BYTES, int(clean.facts["train_bytes"]))
    meter = Meter(float(clean.facts["train_bytes"]) + float(clean.facts["validation_bytes"]) + learned)
    if _FILE in out.published:
        vocabulary = Vocabulary.load(out.path / _FILE)
    else:
        vocabulary = yield from (_gpt2(meter) if recipe.vocabulary == "gpt2" else _learn(recipe, clean, meter))
        out.publish(_FILE, vocabulary.save)
    meter.done = learned
    train = yield from encode_split(clean.files("train-*.parquet"), "train", vocabulary, out, meter)
    validation = yield from encode_split(clean.files("validation-*.parquet"), "validation", vocabulary, out, meter)
    yield meter.now()
    return out.finish(
        {
            "vocabulary": vocabulary.name,
            "vocabulary_size": vocabulary.size,
            "train_tokens": train.tokens,
            "validation_tokens": validation.tokens,
            "train_bytes": train.bytes,
            "validation_bytes": validation.bytes,
            "bytes_per_token": round(validation.bytes / max(1, validation.tokens), 4),
            "dtype": dtype_for(vocabulary.size).name,
        }
    )


def _learn(recipe: Tokenize, clean: Artifact, meter: Meter) -> Generator[Event, None, Vocabulary]:
    total = int(clean.facts["train_bytes"])
    if total > SAMPLE_BYTES:
        yield Note(text=f"the vocabulary is learned from a sample of {SAMPLE_BYTES:,} of {total:,} bytes")

    def texts() -> Iterator[str]:
        for text in sample(read_parts(clean.files("train-*.parquet")), total):
            meter.advance(len(text.encode()))
            yield text

    vocabulary = yield from in_background(lambda: learn(texts(), recipe.size), meter)
    if vocabulary.size < recipe.size:
        yield Note(
            level="warning",
            text=f"the text has too few pairs that occur twice: the vocabulary has {vocabulary.size:,} entries "
            f"instead of {recipe.size:,}",
        )
    return vocabulary


def _gpt2(meter: Meter) -> Generator[Event, None, Vocabulary]:
    """GPT-2's vocabulary from tiktoken's cache, or fetched into it."""
    try:
        encoding = yield from in_background(partial(tiktoken.get_encoding, "gpt2"), meter, DOWNLOAD_SECONDS)
    except (OSError, ValueError) as error:  # what requests raises is an OSError; TimeoutError is one too
        slow = isinstance(error, TimeoutError)
        why = f"no answer within {DOWNLOAD_SECONDS:.0f} seconds" if slow else type(error).__name__
        raise NoVocabulary(
            f"it is not in tiktoken's cache and cannot be downloaded ({why})",
            where="tokenize.vocabulary",
            todo="set TIKTOKEN_CACHE_DIR to a directory that has it, copied from a machine with a network where "
            "`python -c \"import tiktoken; tiktoken.get_encoding('gpt2')\"` ran with the same setting; "
            "or use tokenize.vocabulary=bpe, which needs no network",
        ) from None
    return Vocabulary("gpt2", GPT2_PATTERN, sorted(encoding.token_byte_values(), key=encoding.encode_single_token))
