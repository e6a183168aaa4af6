"""What may come next: drafters, each with an idea of its own, and one that fuses several."""
