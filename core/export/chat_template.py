"""The chat template of an exported model, in Jinja, as `transformers` and llama.cpp apply it."""

from __future__ import annotations

import json

from core.recipe.schema import Chat

ROLES = ("system", "user", "assistant")


def chat_template(chat: Chat) -> str:
    """The template that makes the prompt of `core.sample.conversation.apply_chat_template` from the same messages.

    Without templates of the recipe, messages are texts to continue, here as in `llmtui serve`: a model without any
    template would be given ChatML by llama.cpp, whose marks it has never seen.
    """
    branches = []
    for role in ROLES:
        before, after = chat.around(role)
        tail = "" if role == "assistant" else (after + chat.around("assistant")[0]).rstrip(" ")
        branches.append(
            f"if message['role'] == '{role}' %}}{{{{ {_quoted(before)} + message['content'] + "
            f"({_quoted(tail)} if loop.last and add_generation_prompt else {_quoted(after)}) }}}}"
        )
    return "{% for message in messages %}{% " + "{% el".join(branches) + "{% endif %}{% endfor %}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
