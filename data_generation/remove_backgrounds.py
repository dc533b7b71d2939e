"""Remove the backgrounds of the pictures of a folder.

python -m data_generation.remove_backgrounds --input_dir=photos --output_dir=photos_cut
"""

import sys

from pops.compat.generation import remove_backgrounds

if __name__ == "__main__":
    sys.exit(remove_backgrounds())
