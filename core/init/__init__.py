"""Initial weights: published GPT-2 weights, the checkpoint of another run, or a folder (`model.init`)."""
