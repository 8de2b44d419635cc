"""What screens are made of: panes that send only the rows that changed."""
