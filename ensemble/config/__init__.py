"""A config: TOML to typed settings, with all faults reported together."""
