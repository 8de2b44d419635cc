"""Child processes: a pool of workers, and single jobs that report their results as JSON lines."""
