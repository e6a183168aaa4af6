"""Training on collections: what to learn from, teachers, the run, what it reports."""
