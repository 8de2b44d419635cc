"""Inspecting a model while it generates, without changing it. The results are in `core.sample.inspect_protocol`.

What flows between the layers is float32, as in `core.sample.kv_decoder`, whatever the model trains in.
"""
