"""Text that plugins written by tests have in common."""

PREDICTS_LOGITS = """
    def predict_logits(self, battles):
        return np.tile(self.logits_.astype(np.float32), (len(battles), 1))
    def save(self, directory):
        (directory / "mean.json").write_text(json.dumps(self.logits_.tolist()))
    def load(self, directory):
        self.logits_ = np.array(json.loads((directory / "mean.json").read_text()))
        return self
"""
"""The methods of a learner that has fitted ``logits_`` alone, the same for every battle."""
