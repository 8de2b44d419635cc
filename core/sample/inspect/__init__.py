"""Inspection of a model while it generates, without changing it. The results are in `core.sample.inspect_protocol`.

Activations are float32, as in `core.sample.kv_decoder`, whatever the model was trained in.
"""
