"""A catalog as a folder of web pages that open from a disk or any web host, with no request elsewhere."""
