"""Text to vectors: find a model's files, load it, run it fast; start at ``.encoder``."""
