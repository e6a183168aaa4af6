"""The routes, a module for each theme. Every endpoint says which right it needs."""
