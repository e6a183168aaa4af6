"""The hot loops: one contract, a slow reference and fast versions of each."""
