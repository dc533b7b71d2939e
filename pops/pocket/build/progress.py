"""Lines that tell how far a stage is and how long it still takes."""

__all__ = ["minutes", "told"]


def minutes(seconds: float) -> str:
    """Such as "0.4 minutes" or "12 minutes"."""
    value = seconds / 60
    return f"{value:.1f} minutes" if value < 2 else f"{value:.0f} minutes"


def told(name: str, done: int, total: int, spent: float) -> None:
    """Print how much is done, and by the seconds spent so far how long the rest takes."""
    rest = spent / done * (total - done)
    print(f"{name}: {done} of {total}, about {minutes(rest)} left", flush=True)
