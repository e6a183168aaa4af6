"""BM25 over an inverted index; import the settings from ``.settings``."""
