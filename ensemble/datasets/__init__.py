"""Generated battles and sources with a known truth."""
