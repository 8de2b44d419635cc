"""What the data commands run in a child process: preparing, previewing and exporting a corpus."""
