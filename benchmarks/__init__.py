"""Side-by-side measurements: the published way and ours, in one run on one machine."""
