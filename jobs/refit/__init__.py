"""Numbers that follow from stored spectra, computed anew without weights."""
