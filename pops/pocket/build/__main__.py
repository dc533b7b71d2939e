"""Run the build as `python -m pops.pocket.build`."""

import sys

from pops.pocket.build.main import main

if __name__ == "__main__":
    sys.exit(main())
