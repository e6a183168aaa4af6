"""Decoding with drafts: a model's text in fewer forwards, and token for token the same."""
