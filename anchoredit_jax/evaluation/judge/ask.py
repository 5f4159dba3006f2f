"""One question to the judge, until there is an answer that can be read."""

from collections.abc import Callable

from anchoredit_jax.evaluation.judge.config import JudgeConfig
from anchoredit_jax.evaluation.judge.endpoint import SHOWN, Completion, NoAnswer
from anchoredit_jax.evaluation.judge.parse import (
    MalformedAnswer,
    Usage,
    Verdict,
    parse_answer,
)
from anchoredit_jax.evaluation.judge.question import Question, complaint


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
            reason = f"refused: {reply.refusal[:SHOWN]}"
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
