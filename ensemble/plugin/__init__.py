"""What a plugin author touches: hooks, contracts, the manager."""
