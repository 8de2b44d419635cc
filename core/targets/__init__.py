"""Where runs train: this machine, hosts reached by ssh, Slurm, or a template of one's own."""
