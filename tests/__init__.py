"""The tests of pops. Importing it first lets the threads of torch wait as they do for users."""

import pops  # noqa: F401
