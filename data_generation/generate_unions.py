"""Make the data of an operator.

python -m data_generation.generate_unions --output_dir=datasets/unions
"""

import sys

from pops.compat.generation import generate_unions

if __name__ == "__main__":
    sys.exit(generate_unions())
