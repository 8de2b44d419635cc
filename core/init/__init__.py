"""Initial weights: published GPT-2 weights, the checkpoint of another run, a folder of ours or of `transformers`."""
