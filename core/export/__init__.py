"""Models for other programs: the architectures they know, the tensors and files they read."""
