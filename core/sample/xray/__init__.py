"""A model at work, seen from inside: pure looks at it that change nothing. What they say is in `core.sample.sights`.

What flows between the layers is float32, as in `core.sample.reader`, whatever the model trains in.
"""
