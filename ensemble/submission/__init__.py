"""What leaves a run: the submission, and predictions of new rows."""
