"""The stages of a run, one file each: a stage reads what the one before wrote."""
