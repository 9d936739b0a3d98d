"""Training: steps, stages, snapshots, and processes that share them."""
