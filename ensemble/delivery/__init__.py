"""Out: submission, saved-run prediction, audit, report."""
