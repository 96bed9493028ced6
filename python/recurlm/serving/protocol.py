"""What requests may say (https://platform.openai.com/docs/api-reference/completions)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

LEAST_ID, MOST_ID = 0, 2**31 - 1
MOST_PROMPTS = 1024
LONG = 4096  # characters or tokens that take a millisecond, about


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text: half of a surrogate pair is no character") from None
    return text


Text = Annotated[StrictStr, AfterValidator(_encodable)]
Id = Annotated[StrictInt, Field(ge=LEAST_ID, le=MOST_ID)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
# An error for each of a million items would take seconds to make.
Texts = Annotated[list[Text], Field(max_length=MOST_PROMPTS, fail_fast=True)]
Ids = Annotated[list[Id], Field(fail_fast=True)]


class _Request(BaseModel):
    # A name that is misspelt would do nothing, and nobody would know.
    model_config = ConfigDict(extra="forbid")

    model: Text | None = None
    user: Text | None = None


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include_usage: StrictBool = False
    include_obfuscation: StrictBool = False  # there is nothing to pad: events come at even times


class CompletionRequest(_Request):
    """A request to ``/v1/completions``: what OpenAI's have, and ``top_k``, ``min_p`` and ``repetition_penalty``."""

    prompt: Text | Texts | Ids | Annotated[list[Ids], Field(max_length=MOST_PROMPTS, fail_fast=True)] | None = ""
    max_tokens: Annotated[StrictInt, Field(ge=0)] | None = 16
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = 1.0
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = 1
    best_of: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    stream: StrictBool | None = False
    stream_options: StreamOptions | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    seed: Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | None = None
    logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = None
    echo: StrictBool | None = False
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = 0.0
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: dict[str, Annotated[Number, Field(ge=-100, le=100)]] | None = None
    suffix: Text | None = None
    top_k: Annotated[StrictInt, Field(ge=0, le=MOST_ID)] | None = 0
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = 0.0
    repetition_penalty: Annotated[Number, Field(ge=0.01, le=100)] | None = 1.0

    @property
    def is_long(self) -> bool:
        """Whether it takes time to read."""
        parts = [self.prompt] if isinstance(self.prompt, str) else self.prompt or []
        size = sum(1 if isinstance(part, int) else len(part) for part in parts)
        return size * max(self.n or 1, self.best_of or 1) + len(self.logit_bias or ()) > LONG


class ScoreRequest(_Request):
    """A request to ``/v1/score``: log-probabilities of whole texts, as for choosing among hypotheses."""

    texts: Texts
    end: StrictBool = False


class RequestError(Exception):
    """A request that cannot be answered, with the sentence that says why.

    Args:
        status: of HTTP.
        param: which part of the request it is about.
    """

    def __init__(self, message: str, status: int = 400, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code

    def body(self) -> dict[str, Any]:
        """As OpenAI's clients read it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        kind = "rate_limit_error" if self.status == 429 else kind
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}
