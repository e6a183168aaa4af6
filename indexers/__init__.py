"""Analyse, encode, index: everything that turns texts into searchable segments."""
