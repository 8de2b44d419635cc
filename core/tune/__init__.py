"""Studies: searches for better values of a recipe's fields, whose trials are ordinary runs."""
