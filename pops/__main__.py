"""`python -m pops` is the command `pops`."""

import sys

from pops.cli import main

sys.exit(main())
