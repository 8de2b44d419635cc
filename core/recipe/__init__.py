"""Recipes: the schema, TOML files and presets, derived sizes, and where weights are initialised from."""
