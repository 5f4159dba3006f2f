"""Which judge is asked what about a turn, and how: one question, one endpoint."""

import base64
import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from anchoredit_jax import files
from anchoredit_jax.errors import UserError
from anchoredit_jax.evaluation.judge.parse import (
    MalformedAnswer,
    Usage,
    Verdict,
    parse_answer,
)

log = logging.getLogger(__name__)

_TASK = """\
You judge one turn of an image editing session. The user gave a source image and then \
one instruction a turn; after each turn the editor returned a new image.

{history}This turn's instruction: {instruction}

Rate the image after this turn with two whole numbers from 0 to 10:
- "instruction": how well this turn's instruction is carried out. 0: not at all; \
10: completely.
- "consistency": how well everything that this instruction does not concern is kept. \
It must look as in the image before this turn, and people and objects must still be \
those of the source image, apart from what earlier instructions changed. 0: a \
different scene; 10: nothing else has changed."""

_FORM = """\
Answer with one JSON object and nothing else; the reason has at most two sentences:
{"reason": "...", "instruction": 0 to 10, "consistency": 0 to 10}"""

_NOTHING = "none; the image must stay exactly as it is"

_SHOWN = 300  # characters of an endpoint's message that an error repeats
# Codes of a refusal of these very images or words: no reason to refuse other turns.
_FILTERED = ("content_filter", "content_policy_violation", "moderation_blocked")
_FLAGS = {
    "timeout": "--judge-timeout",
    "retries": "--judge-retries",
    "answers": "--judge-tries",
    "parallel": "--judge-parallel",
    "image_side": "--judge-image-side",
    "max_tokens": "--judge-tokens",
    "temperature": "--judge-temperature",
}
# Options that an endpoint may refuse; `max_tokens` is renamed before it is left out.
_NAMED = ("max_tokens", "max_completion_tokens", "temperature", "seed")
_SHORTEST_SECRET = 8  # shorter keys are dummies, such as "x", for servers without keys


@dataclasses.dataclass(frozen=True)
class JudgeConfig:
    """A model behind an OpenAI-compatible chat completions endpoint.

    The key is read from the environment when it is needed; it is not part of this.

    Attributes:
      model: its name at the endpoint.
      base_url: the endpoint, usually ending in "/v1".
      api_key_env: the environment variable that holds the key; "" for an endpoint
        without keys, such as a vLLM server of one's own.
      timeout: seconds until a request counts as lost.
      retries: how often a request is sent again after a lost connection, a timeout or a
        status 408, 409, 429 or 5xx; waits as the endpoint asks (Retry-After), else half
        a second that doubles up to 8. A timed-out request may be billed nevertheless.
      answers: how many answers are paid for until a turn counts as unjudged because
        none of them could be read.
      parallel: requests in flight.
      image_side: pixels of the longer side that the judge sees; larger images are made
        smaller, smaller ones are sent as they are; always PNG, which adds no artefacts.
      max_tokens: of an answer, its reasoning included; None leaves it to the endpoint.
      temperature: None leaves it to the endpoint.
      seed: of the endpoint's sampling, where it heeds one; None sends none.

    An endpoint that refuses one of the last three by name is asked again without it,
    or with `max_completion_tokens`.

    Raises:
      UserError: a value out of its range.
    """

    model: str
    base_url: str = "https://api.openai.com/v1"
    api_key_env: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    retries: int = 6
    answers: int = 3
    parallel: int = 4
    image_side: int = 768
    max_tokens: int | None = 4096
    temperature: float | None = 0.0
    seed: int | None = 0

    def __post_init__(self):
        if not self.model:
            raise UserError(
                "the judge needs model, the name of a vision language model at "
                f"{self.base_url}; given: {self.model!r}"
            )
        if not self.base_url.startswith(("http://", "https://")):
            raise UserError(
                "the judge's base_url (--judge-url) must start with http:// or "
                f"https://, as in http://localhost:8000/v1; given: {self.base_url!r}"
            )
        ones = dict.fromkeys(("answers", "parallel", "image_side", "max_tokens"), 1)
        least_of = {"timeout": 1e-3, "retries": 0, **ones, "temperature": 0}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UserError(
                    f"the judge's {name} ({_FLAGS[name]}) must be at least {least}; "
                    f"given: {value}"
                )


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """One turn of one session.

    Attributes:
      session: the session's name.
      turn: from 1.
      task: what the judge is told before the images.
      images: (label, uint8 [H, W, 3]) in the order in which they are shown.
    """

    session: str
    turn: int
    task: str
    images: tuple[tuple[str, np.ndarray], ...]

    def key(self, config: JudgeConfig) -> str:
        """A digest of all that decides the answer: the model and how it samples, every
        word and every pixel. Not of the endpoint's address, nor of names."""
        labels = [(label, image.shape) for label, image in self.images]
        words = [config.model, config.temperature, config.seed, config.image_side]
        head = json.dumps([*words, self.task, _FORM, labels])
        images = (np.ascontiguousarray(image).data for _, image in self.images)
        return files.sha256(head.encode(), *images)

    def content(self, image_side: int) -> list[dict]:
        """The parts of the chat message, images as PNG data URLs."""
        parts = [_text(self.task)]
        for label, image in self.images:
            parts.append(_text(label))
            url = {"url": _data_url(image, image_side)}
            parts.append({"type": "image_url", "image_url": url})
        return [*parts, _text(_FORM)]


def complaint(why: str) -> dict:
    """The part to add to the message after an answer that could not be read."""
    return _text(
        f"Your last answer could not be used: {why}. Give the JSON object only."
    )


def session_questions(
    name: str, frames: np.ndarray, instructions: Sequence[str]
) -> Iterator[Question]:
    """The questions of a session, one a turn.

    Args:
      name: of the session.
      frames: uint8 [N + 1, H, W, 3], the source and the image after each turn.
      instructions: N texts; "" is the null instruction.

    Raises:
      UserError: frames of another shape or type.
    """
    frames = np.asarray(frames)
    shape = (len(instructions) + 1, *frames.shape[1:3], 3)
    if frames.dtype != np.uint8 or frames.shape != shape:
        raise UserError(
            f"session {name!r} has {len(instructions)} instructions: the judge needs "
            f"frames uint8 [{len(instructions) + 1}, H, W, 3], the source first; "
            f"given: {frames.dtype} {list(frames.shape)}"
        )
    for turn, instruction in enumerate(instructions, 1):
        task = _TASK.format(
            history=_history(instructions[: turn - 1]), instruction=_quoted(instruction)
        )
        if turn == 1:
            before = (("The source image, before this turn:", frames[0]),)
        else:
            before = (
                ("The source image:", frames[0]),
                ("The image before this turn:", frames[turn - 1]),
            )
        images = (*before, ("The image after this turn:", frames[turn]))
        yield Question(name, turn, task, images)


def _history(instructions: Sequence[str]) -> str:
    if not instructions:
        return ""
    lines = [f"{i}. {_quoted(text)}" for i, text in enumerate(instructions, 1)]
    return "The instructions before it were:\n" + "\n".join(lines) + "\n\n"


def _quoted(instruction: str) -> str:
    if not instruction.strip():
        return _NOTHING
    return json.dumps(instruction, ensure_ascii=False)


def _text(text: str) -> dict:
    return {"type": "text", "text": text}


def _data_url(image: np.ndarray, side: int) -> str:
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)  # never larger
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


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
        return (text.replace(key, "(key)") if secret else text)[:_SHOWN]

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


def judge_turn(
    ask: Callable[[list[dict]], Completion], question: Question, config: JudgeConfig
) -> Verdict:
    """Ask until an answer can be read, at most `config.answers` times.

    Nothing of an answer that was cut off counts, and it is not asked for again: it
    would be cut off at the same place. Nor is what was refused.
    """
    content, usage, why = question.content(config.image_side), Usage(), ""
    for answers in range(config.answers):
        try:
            reply = ask([*content, complaint(why)] if why else content)
        except NoAnswer as error:
            reason = f"no answer: {error}"
            return Verdict(None, None, reason, answers, usage, reached=False)
        usage, paid = usage + reply.usage, answers + 1
        if reply.refusal:
            reason = f"refused: {reply.refusal[:_SHOWN]}"
            return Verdict(None, None, reason, paid, usage, refused=True)
        if reply.cut_off:
            limit = config.max_tokens or 0
            told = f"the {limit} tokens of" if limit else "the endpoint's tokens of"
            reason = f"cut off: {told} an answer were used up, raise --judge-tokens"
            return Verdict(None, None, reason, paid, usage, cut_at=limit)
        try:
            found = parse_answer(reply.text)
        except MalformedAnswer as error:
            why = str(error)
            continue
        scores = found.instruction, found.consistency
        return Verdict(*scores, found.reason, paid, usage)
    reason = f"no readable answer in {config.answers} tries; the last one: {why}"
    return Verdict(None, None, reason, config.answers, usage)
