"""Fuse, feed back, reformulate, rerank: everything that reorders candidates."""
