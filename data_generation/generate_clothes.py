"""Make the data of an operator.

python -m data_generation.generate_clothes --output_dir=datasets/clothes
"""

import sys

from pops.compat.generation import generate_clothes

if __name__ == "__main__":
    sys.exit(generate_clothes())
