"""Keeping house: audit and compaction."""
