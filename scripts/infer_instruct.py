"""Apply an operator of a picture and a text to every picture of a folder and every text.

python -m scripts.infer_instruct --config_path=configs/infer/instruct.yaml
"""

import sys

from pops.compat import infer_instruct

if __name__ == "__main__":
    sys.exit(infer_instruct())
