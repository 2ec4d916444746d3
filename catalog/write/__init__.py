"""Rows to whole files, and files to commits."""
