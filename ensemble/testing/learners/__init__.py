"""What is asked of base learners, a file a subject."""
