"""SPANN: vectors on disk, short lists of codes, a small memory."""
