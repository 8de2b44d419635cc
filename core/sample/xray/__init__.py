"""A model at work, seen from inside: pure looks at it that change nothing. What they say is in `core.sample.sights`.

All is worked out in float32, as `core.sample.reader` does, whatever the model trains in.
"""
