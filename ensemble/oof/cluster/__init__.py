"""Fits on the nodes of a Ray cluster: what travels there, what comes back, and who commits it."""
