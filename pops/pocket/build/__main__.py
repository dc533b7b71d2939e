"""`python -m pops.pocket.build`."""

from pops.pocket.build.main import main

if __name__ == "__main__":
    main()
