"""Run directories: the only interface between the process that trains and the programs that watch it."""
