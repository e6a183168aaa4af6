"""Cormorant."""
