"""Which judge is asked, and how."""

import dataclasses

from anchoredit_jax.errors import UserError

_FLAGS = {
    "timeout": "--judge-timeout",
    "retries": "--judge-retries",
    "answers": "--judge-tries",
    "parallel": "--judge-parallel",
    "image_side": "--judge-image-side",
    "max_tokens": "--judge-tokens",
    "temperature": "--judge-temperature",
}


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
