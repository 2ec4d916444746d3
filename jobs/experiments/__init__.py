"""The papers' experiments: each trains, sweeps, probes and prints its numbers beside the published ones."""
