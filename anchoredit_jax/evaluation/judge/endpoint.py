"""One chat completion from an OpenAI-compatible endpoint."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge.config import JudgeConfig
from anchoredit_jax.evaluation.judge.verdict import Usage

_SHOWN = 300  # characters of an endpoint's message that an error repeats
# Codes of a refusal of these very images or words: no reason to refuse other turns.
_FILTERED = ("content_filter", "content_policy_violation", "moderation_blocked")
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
    """

    text: str
    cut_off: bool
    usage: Usage


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
    options = {
        "model": config.model,
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "seed": config.seed,
    }
    options = {name: value for name, value in options.items() if value is not None}

    def shown(error: Exception | str) -> str:
        """What an endpoint says may repeat the key that it was sent."""
        text = str(error)
        secret = len(key) >= _SHORTEST_SECRET
        return (text.replace(key, "(key)") if secret else text)[:_SHOWN]

    def ask(content: list[dict[str, Any]]) -> Completion:
        messages = [{"role": "user", "content": content}]
        # "from None": the library's exceptions hold the request and its key.
        try:
            reply = client.chat.completions.with_raw_response.create(
                messages=messages, **options
            )
        except openai.APIConnectionError as error:
            cause = f" ({shown(error.__cause__)})" if error.__cause__ else ""
            raise NoAnswer(shown(error) + cause) from None
        except openai.APIStatusError as error:
            if _may_pass(error.status_code) or error.code in _FILTERED:
                raise NoAnswer(shown(error)) from None
            advice = _advice(config, error.status_code)
            raise UserError(
                f"the judge at {config.base_url} refused the request: {shown(error)}; "
                f"{advice}"
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


def _read_key(config: JudgeConfig) -> str:
    if not config.api_key_env:
        return "no-key-needed"  # the library insists on one
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise UserError(
            f"the judge at {config.base_url} needs a key: set the environment variable "
            f"{config.api_key_env}, or name another one in api_key_env (an empty name "
            "for an endpoint without keys)"
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
        return f"check the key in {source if config.api_key_env else 'api_key_env'}"
    if status == 404:
        return f"check base_url and that it serves the model {config.model!r}"
    if status == 413:
        return f"send smaller images: image_side is {config.image_side}"
    return (
        f"check that {config.model!r} takes images, and the options temperature, "
        "max_tokens and seed (None leaves one out)"
    )


def _read_completion(body: str) -> Completion | None:
    """None where `body` is not the JSON of a chat completion."""
    try:
        reply = json.loads(body)
        choice = reply["choices"][0]
        text = choice["message"].get("content")
        cut_off = choice.get("finish_reason") == "length"
        usage = reply.get("usage") or {}
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    text = text if isinstance(text, str) else ""
    return Completion(text, cut_off, _read_usage(usage))


def _read_usage(usage: Any) -> Usage:
    counts = usage if isinstance(usage, dict) else {}
    names = [field.name for field in dataclasses.fields(Usage)]
    return Usage(*(n if type(n := counts.get(name)) is int else 0 for name in names))
