"""The version of the numbers: part of every analysis key."""

NUMBERS_VERSION = 3
"""Raise it in the commit that moves any stored number, and say which in CHANGELOG under "Numbers"."""
