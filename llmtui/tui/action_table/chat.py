"""The chat, and the screens over it."""

from __future__ import annotations

from llmtui.tui.action_table.action import OVER_CHAT, Action

CHAT = (
    Action("chat.write", ("i", "enter"), "write", "Go to the prompt.", "Chat", ("chat",)),
    Action("chat.checkpoint", ("c",), "checkpoint", "Choose the checkpoint that answers.", "Chat", ("chat",)),
    Action("chat.retry", ("r",), "retry", "Ask the last prompt again, with the next seed.", "Chat", ("chat",)),
    Action("chat.edit", ("e",), "edit", "Change the last prompt and ask again.", "Chat", ("chat",)),
    Action(
        "chat.compare",
        ("b",),
        "beside",
        "Let another checkpoint answer beside it from the same seed, or no longer.",
        "Chat",
        ("chat",),
    ),
    Action("chat.surprise", ("s",), "surprise", "Shade each token by its surprise, -log2 p.", "Chat", ("chat",)),
    Action("chat.copy", ("y",), "copy", "Copy the last text, or that of the chosen turn.", "Chat", ("chat",)),
    Action("chat.save", ("w",), "save", "Save the transcript as a Markdown file.", "Chat", ("chat",)),
    Action("chat.sessions", ("o",), "open", "List the earlier conversations, and open one.", "Chat", ("chat",)),
    Action(
        "chat.earlier", ("left_square_bracket",), "earlier", "Choose the turn before.", "Chat", ("chat",), show=False
    ),
    Action("chat.later", ("right_square_bracket",), "later", "Choose the turn after.", "Chat", ("chat",), show=False),
    Action(
        "chat.reset",
        ("R",),
        "reset",
        "Return to the sampler settings of the recipe.",
        "Chat",
        ("chat",),
        show=False,
    ),
    Action(
        "chat.xray", ("X", "ctrl+g"), "x-ray", "Show how each token of the last text was generated.", "Chat", ("chat",)
    ),
    Action("chat.new", ("N",), "new", "Start a new conversation; the old one stays on the disk.", "Chat", ("chat",)),
    Action("chat.stop", ("ctrl+x",), "stop", "Stop generating.", "Chat", ("chat",)),
)

XRAY = (
    Action("xray.earlier", ("left",), "token", "The token before.", "X-ray", OVER_CHAT, show=False),
    Action("xray.later", ("right",), "token", "The token after; of masked models the step.", "X-ray", OVER_CHAT),
    Action("xray.first", ("home",), "first", "The first token.", "X-ray", OVER_CHAT, show=False),
    Action("xray.last", ("end",), "last", "The last token.", "X-ray", OVER_CHAT, show=False),
    Action("xray.up", ("up",), "step", "The step before; of attention the layer.", "X-ray", ("xray",), show=False),
    Action("xray.down", ("down",), "step", "The step after; of attention the layer.", "X-ray", ("xray",)),
    Action(
        "xray.previous", ("k",), "above", "The candidate above; of attention the head.", "X-ray", ("xray",), show=False
    ),
    Action("xray.next", ("j",), "pick", "The candidate below; of attention the head.", "X-ray", ("xray",)),
    Action("xray.take", ("enter",), "take", "Take the candidate instead and continue from it.", "X-ray", ("xray",)),
    Action("xray.attention", ("a",), "attention", "Show the attention of a head, and all heads.", "X-ray", ("xray",)),
    Action("xray.lens", ("l",), "lens", "Show what each layer would predict (logit lens).", "X-ray", ("xray",)),
    Action("xray.branches", ("b",), "branches", "Show the branches as a tree, and go to one.", "X-ray", ("xray",)),
    Action(
        "xray.difference",
        ("d",),
        "difference",
        "Compare the loss of each token with another checkpoint.",
        "X-ray",
        ("xray",),
    ),
)
