"""Steps that put a mark in the place of what identifies people and places on the net, or take out page furniture.

All patterns take linear time: repetitions are bounded, or start only where nothing of their own kind stands before.
"""

from __future__ import annotations

import re

from core.preprocess.gutenberg import without_licence

_URL = re.compile(r"(?:https?://|ftp://|(?<![\w.])www\.)[^\s<>\"]*[^\s<>\".,;:!?'()\[\]{}]", re.IGNORECASE)
_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@+-]|\.\w)",
)
# international with its plus; (555) 123-4567; 555-123-4567 and 555.123.4567. Other groups of digits are as often dates
_PHONE = re.compile(
    r"(?<![\w.+(-])(?:"
    r"\+(?=(?:[ .()-]{0,2}\d){8,15}(?!\d))\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}"
    r"|\(\d{3}\) ?\d{3}-\d{4}|\d{3}([.-])\d{3}\1\d{4}"
    r")(?![\w+(-])",
    re.ASCII,
)


def urls(text: str, _last: bool) -> str:
    """`<url>` for addresses that begin with http://, https://, ftp:// or www."""
    return _URL.sub("<url>", text) if "://" in text or "www." in text.lower() else text


def emails(text: str, _last: bool) -> str:
    """`<email>` for name@host.domain."""
    return _EMAIL.sub("<email>", text) if "@" in text else text


def phones(text: str, _last: bool) -> str:
    """`<phone>` for +44 20 7946 0958, (555) 123-4567, 555-123-4567 and 555.123.4567."""
    return _PHONE.sub("<phone>", text)


_FURNITURE = re.compile(
    r"""^[ \t]{0,100}(?:
      (?:[^\n]{0,120}\W)?all\ rights\ reserved\.?
    | (?:page|p\.)\ ?\d{1,5}(?:\ ?(?:of|/)\ ?\d{1,5})? | -\ ?\d{1,5}\ ?-
    | (?:we|this\ (?:web)?site)\ uses?\ cookies\b[^\n]{0,200}
    | (?:accept|allow|reject)(?:\ all)?\ cookies | cookie\ (?:policy|settings|preferences)
    | (?:privacy\ policy|terms\ (?:of\ (?:use|service)|(?:and|&)\ conditions))
      (?:\ ?[|\xb7]\ ?(?:privacy\ policy|terms\ (?:of\ (?:use|service)|(?:and|&)\ conditions)|contact(?:\ us)?)){0,5}
    | (?:skip|jump)\ to\ (?:main\ )?(?:content|navigation) | back\ to\ (?:the\ )?top
    | share\ (?:this|on\ (?:facebook|twitter|x|linkedin|whatsapp))(?:\ (?:article|page|post))?
    | (?:sign|log)\ (?:in|up)(?:\ (?:or|/)\ (?:sign|log)\ (?:in|up))? | subscribe(?:\ (?:now|to\ our\ newsletter))?
    | read\ more | click\ here | (?:continue\ reading|advertisement|loading)(?:\.\.\.|…)?
    | please\ enable\ javascript[^\n]{0,120}
    )[.!]?[ \t]{0,100}(?:\n|\Z)""",
    re.MULTILINE | re.IGNORECASE | re.VERBOSE,
)
_HINTS = re.compile(
    "rights reserved|cookie|policy|terms|skip to|jump to|back to|share |sign |log |subscribe|read more|click here"
    "|continue reading|advertis|loading|javascript|page|p\\.|^[ \t]{0,100}-",
    re.IGNORECASE | re.MULTILINE,
)


def boilerplate(text: str, _last: bool) -> str:
    """No lines of page furniture (rights, cookies, navigation, page numbers), no Project Gutenberg header and licence.

    Of a long document each part is looked at by itself.
    """
    if "Gutenberg" in text or "GUTENBERG" in text:
        text = without_licence(text)
    return _FURNITURE.sub("", text)
