"""Decides what runs where: spec, sources, units, runners, sweep, refit, commands."""
