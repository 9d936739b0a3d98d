"""The network: weights, attention, heads, precision, and the logits that it gives."""
