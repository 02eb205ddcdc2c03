"""A forward pass written by hand for packed models of known families, and coarse weights."""
