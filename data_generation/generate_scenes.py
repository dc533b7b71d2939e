"""Make the data of an operator.

python -m data_generation.generate_scenes --output_dir=datasets/scenes
"""

import sys

from pops.compat.generation import generate_scenes

if __name__ == "__main__":
    sys.exit(generate_scenes())
