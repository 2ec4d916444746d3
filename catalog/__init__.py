"""Remembers and answers: schema, atomic files, commits, views, leaderboards. Knows no tensors."""
