"""The scores in a judge's answer, or what is wrong with it, and a turn's verdict."""

import dataclasses
import json
import re
from typing import Any

HIGHEST = 10
# How models mark their drafts where a server has no parser for reasoning.
_OPENED = re.compile(r"<(?:think|thinking|reasoning|thought)>|\[THINK\]", re.IGNORECASE)
_CLOSED = re.compile(
    r"</(?:think|thinking|reasoning|thought)>|\[/THINK\]", re.IGNORECASE
)
SCORES = ("instruction", "consistency")


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens paid for, as far as the endpoint reports them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The judge's word on one turn.

    Attributes:
      instruction, consistency: 0 to 10; both None where the turn is unjudged.
      reason: the judge's, or why the turn is unjudged.
      answers: how many answers were paid for, unreadable ones included.
      usage: of these answers.
      reached: False where the endpoint gave no answer in the end; asking again later
        may help.
      cut_at: the tokens at which an answer was cut off, 0 where the endpoint did not
        say; more of them may help. None where no answer was.
      refused: whether the model, or a filter of its answers, refused to answer.
    """

    instruction: int | None
    consistency: int | None
    reason: str
    answers: int
    usage: Usage
    reached: bool = True
    cut_at: int | None = None
    refused: bool = False

    def settled(self, answers: int, max_tokens: int | None) -> bool:
        """Tell whether so many answers, of so many tokens, would change nothing."""
        if self.judged or self.refused:
            return True
        if self.cut_at is not None:
            return max_tokens is not None and max_tokens <= self.cut_at
        return self.answers >= answers

    @property
    def judged(self) -> bool:
        return self.instruction is not None


class MalformedAnswer(ValueError):
    """An answer without one unambiguous pair of scores; the message says why."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """Two scores from 0 to 10 and the judge's reason."""

    instruction: int
    consistency: int
    reason: str


def parse_answer(text: str) -> Answer:
    """Read the JSON object of an answer.

    Fences, words around the object, objects inside objects, 7.0 and "7" for 7 are
    understood: they mean one thing only. So is a missing reason. Reasoning is left out.

    Raises:
      MalformedAnswer: no object with both scores; scores that are no whole numbers from
        0 to 10; several objects that disagree.
    """
    if not text.strip():
        raise MalformedAnswer("it was empty")
    # What stands in reasoning is a draft, and without an end there is nothing else.
    said = _CLOSED.split(text)[-1]
    if _OPENED.search(said):
        raise MalformedAnswer("its reasoning has no end")
    found = list(_objects(said))
    whole = [item for item in found if all(name in item for name in SCORES)]
    if not whole:
        if not found:
            raise MalformedAnswer("it held no complete JSON object")
        missing = [name for name in SCORES if not any(name in item for item in found)]
        lacking = " and ".join(missing or SCORES)
        raise MalformedAnswer(f"its JSON object lacked {lacking}")
    answers = [_answer(item) for item in whole]
    if len({(answer.instruction, answer.consistency) for answer in answers}) > 1:
        raise MalformedAnswer("it held several JSON objects with different scores")
    return answers[0]


def _objects(text: str):
    """Every JSON object in `text`, the outer before those inside it."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r"\{", text):
        try:
            yield decoder.raw_decode(text, start.start())[0]
        except (ValueError, RecursionError):  # also of a number with too many digits
            continue


def _answer(item: dict[str, Any]) -> Answer:
    reason = item.get("reason", "")
    if not isinstance(reason, str):
        reason = json.dumps(reason)
    return Answer(*(_score(name, item[name]) for name in SCORES), reason)


def _score(name: str, value: Any) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,2}\s*", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= HIGHEST:
        shown = json.dumps(value)[:40]
        raise MalformedAnswer(
            f'"{name}" was {shown}, not a whole number from 0 to {HIGHEST}'
        )
    return value
