"""The sweep spec: its tables, reading it, and saying what is wrong with it."""
