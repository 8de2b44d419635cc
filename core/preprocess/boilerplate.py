"""Cleaning step that removes boilerplate: standard lines of web pages, Project Gutenberg's headers and licences."""

from __future__ import annotations

import re

from core.preprocess.gutenberg import remove_licence

_BOILERPLATE = re.compile(
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


def boilerplate(text: str, _last_flags: bool) -> str:
    """Removes boilerplate lines of web pages (rights, cookies, navigation, page numbers), and Project Gutenberg's
    headers and licences.

    Each part of a long document is processed separately.
    """
    if "Gutenberg" in text or "GUTENBERG" in text:
        text = remove_licence(text)
    return _BOILERPLATE.sub("", text)
