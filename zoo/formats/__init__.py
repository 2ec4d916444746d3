"""The account of every stored tensor, and one decoder of a quantised format a file."""
