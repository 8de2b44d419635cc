"""Processes that the command line and the screens talk to: the inference process, child jobs, chat sessions."""
