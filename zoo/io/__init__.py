"""Stores, headers and checkpoints: from files of any place to named arrays, read by byte ranges."""
