"""From token shards to checkpoints. Importing this imports no torch; `core.train.trainer` does."""
