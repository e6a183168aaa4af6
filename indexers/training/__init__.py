"""Training sparse encoders: losses, a vocabulary head for backbones without one, batches."""
