"""Vocabularies without tiktoken or NumPy, for the command line: published files, sizes, reports."""
