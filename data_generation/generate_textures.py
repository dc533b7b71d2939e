"""Make the data of an operator.

python -m data_generation.generate_textures --output_dir=datasets/textures
"""

import sys

from pops.compat.generation import generate_textures

if __name__ == "__main__":
    sys.exit(generate_textures())
