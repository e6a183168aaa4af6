"""Ranking many passages at once by a language model: prompts, parsing, strategies, aggregation."""
