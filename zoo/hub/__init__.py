"""The Hugging Face Hub as a source: listing, pacing, files read by byte ranges."""
