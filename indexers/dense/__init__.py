"""Dense retrieval: one vector a passage, found exactly or by FAISS's graphs and inverted lists."""
