"""A trained model as files that transformers and vLLM load by themselves."""
