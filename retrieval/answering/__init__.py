"""An answer from the passages that were retrieved, with citations, drafted from those passages."""
