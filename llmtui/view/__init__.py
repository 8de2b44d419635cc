"""Data as text for people, the same for the command line and the screens. Imports neither click nor Textual."""
