"""A vision-language model behind an OpenAI-style address, which says how well inputs are kept."""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from pops.errors import PopsError, UsageError, install_hint
from pops.evaluation.stages import Judge

__all__ = ["KEY", "PROMPT_VERSION", "VisionJudge", "read_marks"]

PROMPT_VERSION = "judge-v1"  # another prompt is another version: numbers of both do not compare
PROMPT = Path(__file__).parents[1] / "words" / f"{PROMPT_VERSION}.txt"
KEY = "POPS_JUDGE_KEY"  # the environment variable of the server's key, where it wants one

TRIES = 6  # at a request that the server is too busy for, or does not answer in time
READINGS = 2  # answers that may be no JSON of marks, before the request counts as unanswered
AT_ONCE = 8
TIMEOUT = 120.0  # seconds
LONGEST_WAIT = 60.0  # seconds between tries
BUSY = (408, 429)  # statuses below 500 after which a request may be asked again
FILTERED = ("content_filter", "content_policy_violation")  # codes of errors that are refusals
MARKS = range(1, 6)

Marks = dict[str, int | None]


class VisionJudge:
    """Asks a server for marks from 1 to 5, several pictures at once."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        timeout: float = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise UsageError(f"--judge needs httpx: {install_hint('eval')}") from error
        self.address = address.rstrip("/")
        self.model = model
        self.sleep = sleep
        self._httpx = httpx
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(timeout=timeout, headers=headers)
        self._prompt = PROMPT.read_text(encoding="utf-8")

    def __call__(self, asked: Sequence[Judge]) -> list[Marks]:
        """Give the marks of each request.

        Raises:
            UsageError: The server refuses the request itself: a wrong address, key or model.
            PopsError: The server does not answer, try after try.
        """
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(self._marks, asked))

    def _marks(self, request: Judge) -> Marks:
        names = [name for name, _ in request.inputs]
        body = {
            "model": self.model,
            "temperature": 0,
            "max_tokens": 200,
            "messages": [{"role": "user", "content": self._content(request)}],
        }
        for _ in range(READINGS):
            said = self._ask(body)
            if said is None:  # refused: it would refuse again
                break
            marks = read_marks(said, names)
            if any(mark is not None for mark in marks.values()):
                return marks
        return dict.fromkeys(names)

    def _content(self, request: Judge) -> list[dict[str, Any]]:
        content = [_text(f"{self._prompt}\nThe result:"), _picture(request.picture)]
        for name, given in request.inputs:
            if isinstance(given, str):
                content.append(_text(f'Input "{name}", a text: {given}'))
            else:
                content += [_text(f'Input "{name}":'), _picture(given)]
        return content

    def _ask(self, body: dict[str, Any]) -> str | None:
        """Ask until there is an answer; None where the model refuses."""
        trouble = ""
        for tried in range(TRIES):
            wait = min(LONGEST_WAIT, 2.0**tried)
            try:
                answer = self._client.post(f"{self.address}/chat/completions", json=body)
            except self._httpx.TimeoutException:
                trouble = "does not answer in time"
            except self._httpx.TransportError as error:
                trouble = f"cannot be reached ({str(error) or type(error).__name__})"
            else:
                if answer.status_code == 200:
                    return _said(answer.content)
                if _is_filtered(answer.text):
                    return None
                trouble = f"answers {answer.status_code} {_reason(answer.text)}".rstrip()
                if answer.status_code not in BUSY and answer.status_code < 500:
                    raise UsageError(
                        f"--judge: {self.address} {trouble}; check the address, --judge_model and "
                        f"the environment variable {KEY}"
                    )
                wait = _wanted_wait(answer.headers.get("retry-after"), wait)
            if tried + 1 < TRIES:
                self.sleep(wait)
        raise PopsError(
            f"the judge at {self.address} {trouble}, {TRIES} times; the same command goes on "
            "where it stopped"
        )


def read_marks(said: str, names: Sequence[str]) -> Marks:
    """Read marks from what a model says.

    Args:
        said: Its answer; around the JSON object there may be other words.
        names: The names of the inputs.

    Returns:
        The mark of each input; None where it is missing or is not a whole number from 1 to 5.
    """
    found = re.search(r"\{.*\}", said, re.DOTALL)
    try:
        marks = json.loads(found[0]) if found else {}
    except ValueError:
        marks = {}
    given = {name: marks.get(name) for name in names} if isinstance(marks, dict) else {}
    return {name: _mark(given.get(name)) for name in names}


def _mark(value: Any) -> int | None:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value in MARKS
    return int(value) if whole else None


def _said(content: bytes) -> str | None:
    """Read the text of an answer; empty where it has another form, None where the model refuses."""
    try:
        message = json.loads(content)["choices"][0]["message"]
        if message.get("refusal"):
            return None
        return str(message.get("content") or "")
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


def _wanted_wait(said: str | None, otherwise: float) -> float:
    """Read the seconds that the server asks to wait; a date or nonsense counts as nothing said."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(said or "")))
    except ValueError:
        return otherwise


def _is_filtered(text: str) -> bool:
    """Tell whether an error is the refusal of a hosted model, for what is in the pictures."""
    try:
        return json.loads(text)["error"]["code"] in FILTERED
    except (ValueError, LookupError, TypeError):
        return False


def _reason(text: str) -> str:
    with suppress(ValueError, LookupError, TypeError):  # where it has the form of errors
        text = json.loads(text)["error"]["message"]
    return " ".join(str(text).split())[:200]


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def _picture(image: Image.Image) -> dict[str, Any]:
    out = BytesIO()
    image.convert("RGB").save(out, "PNG")
    data = base64.b64encode(out.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
