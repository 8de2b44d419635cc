"""Runs of other machines: mirrored into this one's data directory over one ssh connection per host."""
