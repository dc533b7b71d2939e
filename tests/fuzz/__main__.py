"""The command of the campaign: `python -m tests.fuzz --help`."""

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import FAULTS, run_worker, supervise, table
from tests.fuzz.formats import FORMATS


def main() -> int:
    """Run a campaign; the exit status is 1 where an input did what none may do."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to try inputs")
    parser.add_argument("--seed", type=int, default=0, help="seed of all inputs")
    parser.add_argument("--formats", default=",".join(FORMATS), help="of these formats alone")
    parser.add_argument("--report", type=Path, help="file for the faults, one JSON line each")
    parser.add_argument("--only", type=int, help="try one input of one format again, in full")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    formats = given.formats.split(",")
    if unknown := set(formats) - set(FORMATS):
        parser.error(f"unknown formats {sorted(unknown)}: use {', '.join(FORMATS)}")
    if given.worker or given.only is not None:
        run_worker(formats, given.seed, given.start, given.until, given.only)
        return 0
    started = time.time()
    counts = supervise(formats, given.seed, given.minutes, given.report)
    print(f"seed {given.seed}, {(time.time() - started) / 60:.1f} minutes\n")
    print(table(counts))
    return int(any(one[fault] for one in counts.values() for fault in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
