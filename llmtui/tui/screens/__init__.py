"""One file and one style sheet per screen, imported when first shown."""
