"""`python -m pops` is the command `pops`."""

import sys

from pops.cli.main import main

sys.exit(main())
