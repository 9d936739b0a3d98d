"""From files to a config: what each file is, which learners fit the machine, and the text of it."""
