"""Run directories: the only thing that passes between the process that works and the screens that watch."""
