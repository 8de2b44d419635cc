"""Tests with real parts of a cluster, set up by `tests/cluster/setup.sh`."""
