"""Learned sparse retrieval over an inverted index; import the settings from ``.settings``."""
