"""Apply an operator of two inputs to every pair from two folders.

python -m scripts.infer_binary --config_path=configs/infer/texturing.yaml
"""

import sys

from pops.compat import infer_binary

if __name__ == "__main__":
    sys.exit(infer_binary())
