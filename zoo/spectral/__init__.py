"""The mathematics, on arrays alone: no files, no names, no machines."""
