"""The main job: list, choose, run, commit."""
