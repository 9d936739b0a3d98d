"""The proof that a run is honest, from what is stored and nothing else."""
