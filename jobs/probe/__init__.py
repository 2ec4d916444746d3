"""Trap probes at the scale of a catalog: which models, on which workers, back into the same rows."""
