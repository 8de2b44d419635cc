"""OpenAI-compatible HTTP API: completions, chat completions and models."""
