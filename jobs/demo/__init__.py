"""The embedded default: a small real zoo, built here, so that the first command shows real numbers."""
