"""A checkpoint to a report per layer: the composition of reading, cutting and mathematics."""
