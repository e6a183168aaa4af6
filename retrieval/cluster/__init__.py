"""A collection over several shards, on one machine or many, with the answers of one collection."""
