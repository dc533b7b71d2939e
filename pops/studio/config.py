"""The settings of the studio."""

from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from pops.errors import UsageError
from pops.settings.fields import PathOrName, Range, setting
from pops.settings.groups import CompiledConfig, OwnOperators, StackConfig

__all__ = ["ASK", "PASSWORD_VARIABLE", "StudioConfig"]

ASK = "-"  # in place of a password: it is asked for when the studio starts
PASSWORD_VARIABLE = "POPS_STUDIO_PASSWORD"


@dataclass(frozen=True, kw_only=True)
class StudioConfig(CompiledConfig, StackConfig, OwnOperators):
    """Open the studio: operators, compositions and grids in the browser.

    It listens on this machine only, unless --host says otherwise; it needs the extra `studio`.
    """

    host: str = setting("127.0.0.1", "address to listen on; 0.0.0.0 opens it to the network")
    port: int = setting(7860, "port to listen on", within=Range(1, 65_535))
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "more names that the studio may be called by, as in [studio.example.org]; this machine's "
        "own name and plain IP addresses are known",
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "addresses or networks of the proxies in front of the studio, as in [10.0.0.2]; whom they "
        "name in X-Forwarded-For is taken for the sender, and nobody else is believed",
    )
    password: str | None = field(  # never shown where the settings are
        default=None,
        repr=False,
        metadata={
            "help": "password that every visitor must give; - asks for it at the start. The "
            f"environment variable {PASSWORD_VARIABLE} sets it, too, and is not seen in the "
            "list of processes"
        },
    )
    index: Path | None = setting(
        None, "index of pictures for the renderer find, as pops index writes it"
    )
    sdxl: PathOrName | None = setting(
        None, "a checkpoint of SDXL in place of the stack's own: folder, repository or .safetensors"
    )
    browser: bool = setting(True, "show the page in the browser of this machine")
    mcp: bool = setting(
        False, "let assistants call the studio's tools, at /mcp; it needs the extra mcp"
    )
    waiting: int = setting(
        64, "jobs that may wait in the queue; more are refused", within=Range(1, 200)
    )
    upload_mb: int = setting(
        20, "megabytes of the largest file that is taken", within=Range(1, 1000)
    )

    examples = (
        "pops studio",
        "pops studio --stack kandinsky-2.2 --port 8000 --browser false",
        "pops studio --host 0.0.0.0 --allowed_hosts studio.example.org --password -",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise UsageError(
                    f"--trusted_proxies takes addresses or networks, as in 10.0.0.0/8: {error}"
                ) from error
        if self.password == "":
            raise UsageError("--password is empty: give one, or leave the flag out")
