"""Sources of text: the well-known corpora, and the resolution of a source's name."""
