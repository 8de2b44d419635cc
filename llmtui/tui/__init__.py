"""The workbench: a Textual application."""
