"""Lines that tell how far a stage is and how long it still takes."""

__all__ = ["minutes", "print_progress"]


def minutes(seconds: float) -> str:
    """Write a time in minutes.

    Args:
        seconds: the time.

    Returns:
        A text such as "0.4 minutes" or "12 minutes".
    """
    value = seconds / 60
    return f"{value:.1f} minutes" if value < 2 else f"{value:.0f} minutes"


def print_progress(name: str, done: int, total: int, spent: float) -> None:
    """Print how much of a stage is done, and how long the rest takes at the speed so far.

    Args:
        name: the name of the work.
        done: the number of parts that are done, at least 1.
        total: the number of all parts.
        spent: the seconds in which they were done.
    """
    rest = spent / done * (total - done)
    print(f"{name}: {done} of {total}, about {minutes(rest)} left", flush=True)
