"""What is known of vocabularies without loading one: light enough for the command line."""
