"""What the project claims about speed and size, as commands that measure it again."""
