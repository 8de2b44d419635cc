"""The per-user data directory: files, locks, artifacts and journals."""
