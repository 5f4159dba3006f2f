"""Instruction following as a vision language model sees it, turn by turn.

Every turn is shown to a judge behind an OpenAI-compatible endpoint, which gives two
whole numbers from 0 to 10: is the instruction carried out, and is all the rest kept.

From MSE-Bench (VINCIE, https://arxiv.org/abs/2506.10941, and its published scorer): the
two scores and their range; a turn succeeds when both are above 6; SR@k is the share of
sessions whose turns 1 to k all succeed; earlier instructions are told to the judge.

Ours, where MSE-Bench differs or is silent:

- CR@k, which LME-Bench reports, is SR@k with the consistency score alone: the share of
  sessions whose turns 1 to k are all consistent. No scorer of LME-Bench is public.
- The judge sees three images (the source, the one before, the one after; two at turn
  1), not the whole session: the cost of a turn does not grow with its number.
- Turns after a session's first failure are judged too: CR@k and the curves need them.
- A session with an unjudged turn up to k is left out at k, whatever its other turns
  are: keeping only those that are known to fail would bias the rate downwards.
- The prompt's words.
"""

from anchoredit_jax.evaluation.judge.cache import check_answers
from anchoredit_jax.evaluation.judge.config import JudgeConfig
from anchoredit_jax.evaluation.judge.count import (
    PASSES_ABOVE,
    Judgement,
    SessionRates,
    TurnScores,
    judge_sessions,
    success_rates,
)
from anchoredit_jax.evaluation.judge.endpoint import check_key
from anchoredit_jax.evaluation.judge.parse import Usage, Verdict

__all__ = [
    "PASSES_ABOVE",
    "JudgeConfig",
    "Judgement",
    "SessionRates",
    "TurnScores",
    "Usage",
    "Verdict",
    "check_answers",
    "check_key",
    "judge_sessions",
    "success_rates",
]
