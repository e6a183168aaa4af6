"""Multi-vector retrieval: a vector a token, exact MaxSim, candidates by a single-vector proxy."""
