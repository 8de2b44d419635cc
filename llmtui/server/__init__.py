"""Models behind OpenAI's interface: completions, chat completions and models, over HTTP on this machine."""
