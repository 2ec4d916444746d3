"""The commands of `zoo`, one a file, each imported only when it is called."""
