"""One engine for language models that classify battles: token ids and labels in, logits out."""
