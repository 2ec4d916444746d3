"""Pictures of layers and of whole models (matplotlib, extra `plot`)."""
