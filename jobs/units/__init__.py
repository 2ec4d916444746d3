"""The unit of work, its key, its plan and its cost."""
