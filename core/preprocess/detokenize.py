"""Cleaning step that undoes word tokenization, as in BookCorpus and the Penn Treebank."""

from __future__ import annotations

_LEFT = frozenset(", . ! ? ; : % ) ] ... n't 's 're 've 'll 'd 'm".split())
"""Tokens attached to the one before."""
_RIGHT = frozenset("( [ $".split())
"""Tokens attached to the one after."""
_BRACKETS = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]"}
_PAIRS = frozenset({("gon", "na"), ("wan", "na"), ("got", "ta"), ("gim", "me"), ("lem", "me")})


def detokenize(text: str, _last_flags: bool) -> str:
    """Writes `do n't`, `well ,`, `( so )`, ` `` so '' ` and `" so "` as `don't`, `well,`, `(so)` and `"so"`.

    Works line by line; a separate quotation mark opens a quotation if the one before in its line closed one.
    """
    return "\n".join(map(_line, text.split("\n"))) if " " in text else text


def _line(line: str) -> str:
    tokens = line.split(" ")
    if len(tokens) == 1:
        return line
    end = max((index for index, token in enumerate(tokens) if token), default=-1)
    out: list[str] = []
    before = ""
    gap = words = 0
    opened = glue = False
    for index, token in enumerate(tokens[: end + 1]):
        gap += index > 0
        if not token:
            continue
        lowered = token.lower()
        token = _BRACKETS.get(lowered, token)
        left, right = lowered in _LEFT or token in _LEFT, token in _RIGHT
        if token in ("``", "''", '"'):
            opened = token == "``" or (token == '"' and not opened)
            # at the ends of a line it can only attach to one side
            right = (opened or not words) and index < end
            left, opened, token = not right, right, '"'
        left = left or (before, lowered) in _PAIRS
        if not (glue or (left and words)):
            out.append(" " * gap)
        out.append(token)
        before, gap, glue, words = lowered, 0, right, words + 1
    return "".join(out) + " " * (len(tokens) - 1 - max(end, 0))
