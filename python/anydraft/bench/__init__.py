"""Benches of the engine's kernels beside their peers: `anydraft bench kernels`."""
