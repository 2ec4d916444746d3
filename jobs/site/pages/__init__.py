"""The pages of the site, one kind a file: rows in, a page and the data it loads out."""
