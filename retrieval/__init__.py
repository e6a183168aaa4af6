"""Collections: catalog, segments, pipelines, searches."""
