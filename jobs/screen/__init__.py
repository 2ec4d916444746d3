"""What a person sees: rows in four formats, progress, which columns fit."""
