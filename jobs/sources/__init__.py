"""Where models come from: a source becomes targets, each pinned to a revision."""
