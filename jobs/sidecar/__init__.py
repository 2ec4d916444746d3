"""The process beside a training: snapshots of its weights to rows of a catalog, as a sweep would write them."""
