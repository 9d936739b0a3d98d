"""Does a source help, and in which role? What it holds, how it differs, what it does to a score."""
