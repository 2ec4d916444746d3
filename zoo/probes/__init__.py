"""Random inputs through the trained network: is a Correlation Trap harmful? (docs/probes.md)"""
