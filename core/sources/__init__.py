"""Where text comes from: the catalog of well-known corpora, and what a source's name means."""
