"""Training of byte-pair encoding (BPE) vocabularies (Sennrich et al. 2016), on bytes as in GPT-2."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as PreTokenizers
from tokenizers.trainers import BpeTrainer

from core.tokenize.encodings import byte_by_character
from core.tokenize.vocabulary import Vocabulary, split_chunks

SAMPLE_BYTES = 64 * 2**20
"""Bytes of text to train on: more changes few of the merges, and this much takes about ten seconds."""
SAMPLE_SEED = 0
_SAMPLE_SHARDS = 64
"""Maximum shards that are sampled, 2 GiB of text: reading a large corpus would take longer than training."""
_SAMPLE_PIECE = 2**16
"""Characters of a long document that are sampled together; documents of more bytes are long."""
_ROWS = 64
"""Rows read at once: a whole shard, if they are parts of 4 MiB."""
_ITEM = 5000
"""Maximum characters of a text passed to the trainer, which takes quadratic time for long words such as DNA: 100 s for
256 Ki characters, 0.9 s for a million in texts of 5,000."""

# Qwen 3.5's pattern, which llama.cpp has under the name qwen35, so that exported models have our ids there for any text
# (`tests/interop`). Words include combining marks: otherwise Hindi vowel signs would be separate words. Without
# possessive quantifiers, which the trainer's regular expressions lack; grouped for speed as in `encodings`.
PATTERN = (
    r"(?:'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+)|\s+(?!\S)|\s+"
)
# GPT-4's pattern with at most two digits
OLD_PATTERN = (
    r"(?:'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)|\s+(?!\S)|\s+"
)
"""Pattern of vocabularies trained by older versions, with which runs continue, as with the next."""
MARKS_PATTERN = OLD_PATTERN.replace(r"\p{L}+|", r"\p{L}[\p{L}\p{M}\x{200c}\x{200d}]*|")
"""The same with combining marks and joiners in words."""
PATTERNS = (PATTERN, MARKS_PATTERN, OLD_PATTERN)
"""Of vocabularies that were trained by any version, the newest first."""


def sample_texts(files: Sequence[Path], total: int) -> Iterator[str]:
    """Texts of at most SAMPLE_BYTES in total, sampled evenly from the clean shards `files`; all text if it is less.

    total: bytes of text in `files`. Deterministic. Holds a few documents in memory at a time.
    """
    if total <= SAMPLE_BYTES:
        for path in files:
            for text in _read_texts(path):
                yield from split_chunks(text, _ITEM)
        return
    rng = random.Random(SAMPLE_SEED)
    chosen = sorted(rng.sample(files, _SAMPLE_SHARDS)) if len(files) > _SAMPLE_SHARDS else files
    # slightly less than the limit, so that the last shards are rarely cut off
    share = 0.98 * SAMPLE_BYTES * len(files) / (total * len(chosen))
    left = SAMPLE_BYTES
    for path in chosen:
        for text in _read_texts(path, rng, share):
            left -= len(text.encode())
            if left < 0:
                return
            yield from split_chunks(text, _ITEM)


def _read_texts(path: Path, rng: random.Random | None = None, share: float = 1.0) -> Iterator[str]:
    """The texts of a shard; with `rng` a random `share` of them, and of the pieces of long ones."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=["text"]):
            for text in batch.column(0):
                if rng is None:
                    yield text.as_py()
                elif text.as_buffer().size > _SAMPLE_PIECE:
                    yield from (piece for piece in split_chunks(text.as_py(), _SAMPLE_PIECE) if rng.random() < share)
                elif rng.random() < share:
                    yield text.as_py()


def train_bpe(texts: Iterable[str], size: int, pattern: str = PATTERN) -> Vocabulary:
    """Train a vocabulary of `size` entries: 256 bytes, the merges, the end-of-text token.

    texts: as `sample_texts` yields them; much longer ones may take quadratic time. pattern: regular expression that
    splits text into the words inside which bytes are merged. The vocabulary is smaller if there are not enough pairs
    that occur twice.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = PreTokenizers(
        [Split(Regex(pattern), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = BpeTrainer(
        vocab_size=size - 1, min_frequency=2, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    byte_of = byte_by_character()
    entries = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    merges = [bytes(byte_of[character] for character in token) for token, _ in entries if len(token) > 1]
    return Vocabulary("bpe", pattern, [*(bytes([byte]) for byte in range(256)), *merges])
