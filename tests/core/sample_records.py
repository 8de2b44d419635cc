"""Records with texts for tests of file formats."""

from __future__ import annotations

import json
import random
from typing import Any

WORDS = "the of and to in a is that it was for on are as with his they at be this from have or by one had".split()


def prose(count: int, words: int = 30) -> list[str]:
    """`count` different texts of `words` words."""
    generator = random.Random(1)
    return [f"{n} " + " ".join(generator.choices(WORDS, k=words)) for n in range(count)]


TEXTS = prose(60)
ROWS: list[dict[str, Any]] = [{"id": n, "text": text} for n, text in enumerate(TEXTS)]


def lines_of(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
