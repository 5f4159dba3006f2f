"""A model behind an OpenAI-compatible endpoint: messages to answers, or why not."""

import contextlib
import dataclasses
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge.config import JudgeConfig
from anchoredit_jax.evaluation.judge.parse import Usage

log = logging.getLogger(__name__)

SHOWN = 300  # characters of an endpoint's message that an error repeats
# Codes of a refusal of these very images or words: no reason to refuse other turns.
_FILTERED = ("content_filter", "content_policy_violation", "moderation_blocked")
# Options that an endpoint may refuse; `max_tokens` is renamed before it is left out.
_NAMED = ("max_tokens", "max_completion_tokens", "temperature", "seed")
_SHORTEST_SECRET = 8  # shorter keys are dummies, such as "x", for servers without keys


class NoAnswer(Exception):
    """The endpoint gave no answer, also when asked again; a later try may succeed."""


@dataclasses.dataclass(frozen=True)
class Completion:
    """An answer that was paid for.

    Attributes:
      text: "" where the model said nothing.
      cut_off: whether it ended at `max_tokens`.
      usage: what it cost.
      refusal: what the model, or a filter, said instead of an answer; "" for nothing.
    """

    text: str
    cut_off: bool
    usage: Usage
    refusal: str = ""


@contextlib.contextmanager
def open_endpoint(
    config: JudgeConfig,
) -> Iterator[Callable[[list[dict[str, Any]]], Completion]]:
    """Give a function from a user message's content parts to the judge's answer.

    The function may be called from several threads. It raises `NoAnswer` when all
    retries are used up or the reply is no chat completion, and `UserError` when the
    endpoint refuses the request (status 4xx: a wrong key, model, option), which no
    further request would change.

    Raises:
      UserError: no library `openai`, or no key in the environment.
    """
    try:
        import openai
    except ImportError as error:
        raise UserError(
            "the judge needs the library openai: "
            "pip install 'anchoredit_jax[judge]' or pip install openai"
        ) from error
    key = _read_key(config)
    options = _Options(config)

    def shown(error: Exception | str) -> str:
        """What an endpoint says may repeat the key that it was sent."""
        text = str(error)
        secret = len(key) >= _SHORTEST_SECRET
        return (text.replace(key, "(key)") if secret else text)[:SHOWN]

    def ask(content: list[dict[str, Any]]) -> Completion:
        messages = [{"role": "user", "content": content}]
        while True:
            sent = options.current()
            # "from None": the library's exceptions hold the request and its key.
            try:
                reply = client.chat.completions.with_raw_response.create(
                    messages=messages, **sent
                )
                break
            except openai.APIConnectionError as error:
                cause = f" ({shown(error.__cause__)})" if error.__cause__ else ""
                raise NoAnswer(shown(error) + cause) from None
            except openai.APIStatusError as error:
                if _may_pass(error.status_code) or error.code in _FILTERED:
                    raise NoAnswer(shown(error)) from None
                if error.status_code in (400, 422) and options.adapt(sent, str(error)):
                    continue
                advice = _advice(config, error.status_code)
                raise UserError(
                    f"the judge at {config.base_url} refused the request: "
                    f"{shown(error)}; {advice}"
                ) from None
        body = reply.http_response.text
        completion = _read_completion(body)
        if completion is None:
            raise NoAnswer(f"the reply was no chat completion: {shown(body)!r}")
        return completion

    with openai.OpenAI(
        api_key=key,
        base_url=config.base_url,
        timeout=config.timeout,
        max_retries=config.retries,
    ) as client:
        yield ask


class _Options:
    """What is sent with every question, without what the endpoint refuses."""

    def __init__(self, config: JudgeConfig):
        names = ("model", "max_tokens", "temperature", "seed")
        values = {name: getattr(config, name) for name in names}
        self._sent = {
            name: value for name, value in values.items() if value is not None
        }
        self._lock = threading.Lock()

    def current(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._sent)

    def adapt(self, sent: dict[str, Any], refusal: str) -> bool:
        """Leave out or rename what a refusal names.

        Returns:
          whether it is worth asking again: something changed since `sent`.
        """
        with self._lock:
            if self._sent != sent:  # by another thread
                return True
            for name in _NAMED:
                if name not in self._sent or not re.search(rf"\b{name}\b", refusal):
                    continue
                value, other = self._sent.pop(name), ""
                if name == "max_tokens":
                    self._sent["max_completion_tokens"] = value
                    other = "; asked with max_completion_tokens instead"
                log.warning("the judge's endpoint does not take %s%s", name, other)
                return True
        return False


def check_key(config: JudgeConfig) -> None:
    """Refuse a judge that has no key yet.

    Raises:
      UserError: it says which environment variable is empty, or holds no key.
    """
    _read_key(config)


def _read_key(config: JudgeConfig) -> str:
    if not config.api_key_env:
        return "no-key-needed"  # the library insists on one
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"the judge at {config.base_url} needs a key: set the environment variable "
            f"{config.api_key_env}, or name another one with --judge-key (api_key_env "
            "in Python; an empty name, '', for an endpoint without keys)"
        )
    if not (key.isascii() and key.isprintable()):
        raise UserError(
            f"the environment variable {config.api_key_env} holds characters that no "
            "key has: set it again"
        )
    return key


def _may_pass(status: int) -> bool:
    return status in (408, 409, 429) or status >= 500


def _advice(config: JudgeConfig, status: int) -> str:
    if status in (401, 403):
        source = f"the environment variable {config.api_key_env}"
        named = source if config.api_key_env else "--judge-key (api_key_env)"
        return f"check the key in {named}"
    if status == 404:
        return (
            "check --judge-url (base_url) and that it serves the model "
            f"{config.model!r}"
        )
    if status == 413:
        return (
            f"send smaller images: image_side is {config.image_side} "
            "(--judge-image-side)"
        )
    return (
        f"check that {config.model!r} takes images, and --judge-temperature, "
        "--judge-tokens and --judge-seed (none leaves one out; in Python temperature, "
        "max_tokens, seed)"
    )


def _read_completion(body: str) -> Completion | None:
    """Read a chat completion; None where `body` is not the JSON of one."""
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        text = choice["message"].get("content")
        refusal = choice["message"].get("refusal")
        finish = choice.get("finish_reason")
        usage = reply.get("usage") or {}
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    text = text if isinstance(text, str) else ""
    refusal = refusal if isinstance(refusal, str) else ""
    if finish == "content_filter":
        refusal = refusal or "a filter stopped the answer"
    return Completion(text, finish == "length", _read_usage(usage), refusal)


def _read_usage(usage: Any) -> Usage:
    counts = usage if isinstance(usage, dict) else {}
    names = [field.name for field in dataclasses.fields(Usage)]
    return Usage(*(n if type(n := counts.get(name)) is int else 0 for name in names))
