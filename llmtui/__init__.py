"""What a person sees: the command line and the workbench. Never imports torch, datasets or pyarrow."""
