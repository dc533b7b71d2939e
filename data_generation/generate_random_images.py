"""Make pictures of random things or places.

python -m data_generation.generate_random_images --output_dir=datasets/random_images --type=objects
"""

import sys

from pops.compat.generation import generate_random_images

if __name__ == "__main__":
    sys.exit(generate_random_images())
