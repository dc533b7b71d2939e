"""The settings of the studio."""

from dataclasses import dataclass

from pops.settings.fields import check_range, setting
from pops.settings.groups import StackConfig

__all__ = ["StudioConfig"]


@dataclass(frozen=True, kw_only=True)
class StudioConfig(StackConfig):
    """Open the studio: operators, compositions and grids in the browser.

    It listens on this machine only, unless --host says otherwise; it needs the extra `studio`.
    """

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 opens it to the network")
    port: int = setting(7860, "port to listen on")
    browser: bool = setting(True, "show the page in the browser of this machine")
    waiting: int = setting(64, "jobs that may wait; more are refused")
    upload_mb: int = setting(20, "megabytes of the largest file that is taken")

    examples = ("pops studio", "pops studio --stack kandinsky-2.2 --port 8000 --browser false")

    def __post_init__(self) -> None:
        check_range("port", self.port, 1, 65535)
        check_range("waiting", self.waiting, 1, 200)
        check_range("upload_mb", self.upload_mb, 1, 1000)
