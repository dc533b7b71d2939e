"""Train an operator: `pops train` by its published name.

python -m scripts.train --config_path=configs/training/texturing.yaml
"""

import sys

from pops.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
