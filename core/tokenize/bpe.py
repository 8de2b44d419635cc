"""Learning a byte-pair vocabulary from text."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from core.download.documents import Part
from core.tokenize.vocabulary import Vocabulary, cut

SAMPLE_BYTES = 64 * 2**20
"""Text to learn from: more changes few of the merges, and this much takes about ten seconds."""
_ITEM = 2000
"""Characters learned from at once. Longer words, such as DNA, take the trainer quadratic time:
256 Ki characters of them took 100 s where pieces of 2,000 took 5."""

# GPT-4's pattern with at most two digits (small vocabularies have none to spare for numbers), and without the
# possessive quantifiers that the trainer's regular expressions lack
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def sample(parts: Iterable[Part], total: int) -> Iterator[str]:
    """Texts of at most SAMPLE_BYTES out of `total` bytes, spread over all of them; everything when it is less.

    The same parts give the same texts.
    """
    chance = random.Random(0)
    left = SAMPLE_BYTES
    for part in parts:
        if chance.random() * total < SAMPLE_BYTES:
            left -= len(part.text.encode())
            if left < 0:
                return
            yield from cut(part.text, _ITEM)


def learn(texts: Iterator[str], size: int) -> Vocabulary:
    """A vocabulary of at most `size` entries: 256 bytes, the merges learned from `texts`, the end-of-text mark.

    Fewer when there are not enough pairs that occur twice.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(PATTERN), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = BpeTrainer(
        vocab_size=size - 1, min_frequency=2, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    byte_of = _byte_of_character()
    learned = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    merges = [bytes(byte_of[character] for character in token) for token, _ in learned if len(token) > 1]
    return Vocabulary("bpe", PATTERN, [*(bytes([byte]) for byte in range(256)), *merges])


def _byte_of_character() -> dict[str, int]:
    """GPT-2's way to write bytes as visible characters, which the trainer uses, read backwards."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + index): byte for index, byte in enumerate(hidden)}
