"""Dress a person in the garments of a folder.

python -m scripts.infer_clothes --config_path=configs/infer/clothes.yaml
"""

import sys

from pops.compat import infer_clothes

if __name__ == "__main__":
    sys.exit(infer_clothes())
