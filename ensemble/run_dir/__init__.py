"""A run directory: where everything lies, what its records say, what happened in it."""
