"""Side-by-side measurements: the published way and ours, in one run on one machine."""

import pops  # noqa: F401  (before torch, so that its threads wait as they do for users)
