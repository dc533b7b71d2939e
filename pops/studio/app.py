"""`pops studio`: the studio over HTTP, with jobs as calls of Gradio's API."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from getpass import getpass
from typing import TYPE_CHECKING

from pops.errors import UsageError, install_hint
from pops.studio.config import ASK, PASSWORD_VARIABLE, StudioConfig

if TYPE_CHECKING:
    from gradio import Server

    from pops.engine import Engine
    from pops.studio.http.waiting import Waiting
    from pops.studio.service import StudioService

__all__ = ["build", "start", "studio"]

QUIET = {  # read by Gradio when it is imported: it calls nobody, and keeps no statistics of its own
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(10**12),  # or a table is made anew after every job
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
PROXIES = "FORWARDED_ALLOW_IPS"  # read by uvicorn, which else believes everybody on this machine
SESSIONS = 64  # whose last request Gradio remembers
COLLECT_EVERY = (700, 10, 10)  # Python's own; commands that end soon look for garbage less often
THREADS = 256  # more jobs than can wait, so that each is told of its place in the queue


def studio(config: StudioConfig, prepare: Callable[[Engine], Engine] | None = None) -> int:
    """Run the command `pops studio`: serve the page until Ctrl-C.

    Args:
        config: The settings of the command.
        prepare: Changes the engine before it is used, where another program serves the studio.

    Returns:
        The exit status.
    """
    print(f"loading {config.stack}", file=sys.stderr)
    server, url, service = start(config, prepare)
    gc.freeze()  # what is loaded stays; what requests leave behind is to go soon
    gc.set_threshold(*COLLECT_EVERY)
    print(f"the studio is at {url}  (Ctrl-C ends it)")
    if config.mcp:
        print(f"assistants find its tools at {url.rstrip('/')}/mcp")
    if config.browser:
        _show(url)
    try:
        threading.Event().wait()
    finally:
        service.queue.close()
        server.get_blocks().close(verbose=False)
    return 0


def start(
    config: StudioConfig, prepare: Callable[[Engine], Engine] | None = None
) -> tuple[Server, str, StudioService]:
    """Start a server that listens; the models load meanwhile.

    Args:
        config: The settings of the command.
        prepare: Changes the engine before it is used.

    Returns:
        The server, its address, and the studio behind it.

    Raises:
        UsageError: A package of the extra is not installed, or the port is taken.
        DataError: The index is missing or damaged.
    """
    os.environ.update(QUIET | {PROXIES: ",".join(config.trusted_proxies)})
    try:
        import cachetools  # noqa: F401
        import gradio  # noqa: F401
    except ImportError as error:
        raise UsageError(f"the studio needs Gradio: {install_hint('studio')}") from error
    if config.mcp and importlib.util.find_spec("mcp") is None:
        raise UsageError(f"--mcp needs the package mcp: {install_hint('mcp')}")
    from pops.engine import Engine
    from pops.search.exact import Index
    from pops.studio.http.hosts import LOCAL
    from pops.studio.http.waiting import Waiting
    from pops.studio.service import StudioService

    if config.index is not None:
        Index(config.index)  # a wrong name ends the command, not a visitor's first search
    engine = Engine.load(
        config.stack,
        config.device,
        config.dtype,
        offload=config.offload,
        compiled=config.compile,
        operator_folders=config.operators,
        index=config.index,
        sdxl=config.sdxl,
    )
    if prepare is not None:
        engine = prepare(engine)
    local = config.host in LOCAL
    upload_bytes = config.upload_mb * 2**20
    service = StudioService(
        engine,
        config.waiting,
        upload_bytes,
        stack=str(config.stack),
        local=local,
        sdxl=config.sdxl or "",
    )
    waiting = Waiting()
    server = build(service, config, waiting)
    try:
        _, url, _ = server.launch(
            server_name=config.host,
            server_port=config.port,
            prevent_thread_lock=True,
            quiet=True,
            inline=False,
            share=False,
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            max_threads=THREADS,
            state_session_capacity=SESSIONS,
        )
    except OSError as error:
        service.queue.close()
        raise UsageError(
            f"cannot listen on {config.host}:{config.port}: is another studio open? "
            "Choose another --port"
        ) from error
    listening = server.get_blocks().server
    waiting.connections = lambda: tuple(listening.server_state.connections)
    service.warm_up()
    return server, url, service


def build(service: StudioService, config: StudioConfig, waiting: Waiting | None = None) -> Server:
    """Make the server of a studio, which does not listen yet.

    Args:
        service: The studio.
        config: Who may use it, and by which names.
        waiting: Closes connections whose requests never come, once it knows the connections.

    Returns:
        The server.
    """
    from gradio import Server

    from pops.studio.http.calls import add_calls
    from pops.studio.http.hosts import LOCAL, Hosts
    from pops.studio.http.login import Login
    from pops.studio.http.routes import add_routes
    from pops.studio.http.security import SecurityMiddleware

    password = _password(config.password)
    if password is None and config.host not in LOCAL:
        print(
            "whoever reaches this machine can use the studio; --password asks them for a password",
            file=sys.stderr,
        )
    server = Server(title="pops studio", docs_url=None, redoc_url=None, openapi_url=None)
    add_routes(server, service)
    calls = add_calls(server, service)
    if config.mcp:
        from pops.studio.http.tools import add_tools

        add_tools(server, service)
    server.add_middleware(
        SecurityMiddleware,
        most_bytes=service.upload_bytes,
        announce=service.queue.announce,
        calls=calls,
        hosts=Hosts.of(config.host, config.allowed_hosts),
        login=None if password is None else Login(password),
        tools=config.mcp,
        waiting=waiting,
    )
    return server


def _password(given: str | None) -> str | None:
    """Read the password that was given, typed when asked for, or in the environment."""
    if given == ASK:
        given = getpass("password of the studio: ")
    return given or os.environ.get(PASSWORD_VARIABLE) or None


def _show(url: str) -> None:
    """Open the page where there is a browser to open it in."""
    try:
        webbrowser.get()
    except webbrowser.Error:
        return
    webbrowser.open(url)
