"""The judge of the paper: a vision-language model behind an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, expected
from ..records import JudgeRequest, UnscoredReason, Verdict
from .addresses import check_values, look_around, read_values, secret_names
from .asking import Asker, question_key
from .budget import Budget, Ledger
from .cache import VerdictCache
from .call_log import CallLog
from .checks import (
    at_least,
    check_base_url,
    check_key,
    check_key_name,
    check_settings,
    one_of,
    require,
)
from .flow import AdaptiveLimit
from .interview import Interviewer, make_body
from .openai_client import ChatClient
from .pictures import FORMATS, encode_views, make_content
from .prices import Estimate, estimate, price_of
from .prompts import STYLES, VIEWS, load_prompt, neutralize_label
from .samples import combine_samples
from .session import Session

CACHE_FILE = "verdicts.sqlite"
LEDGER_FILE = "judge_budget.sqlite"
LOG_FILE = "judge_calls.jsonl"


class VLMJudge:
    """Has a vision-language model score masked pictures, over the chat completions protocol.

    Works with any server that speaks it (OpenAI, Gemini's compatible endpoint, vLLM, Ollama, ...).
    The model is told the *predicted* label, never the true one. Whatever goes wrong with one
    picture is that picture's unscored verdict.

    Args:
        model: Name by which the server knows the model.
        base_url: Where the server is; OPENAI_BASE_URL or the client's default if None.
        query: Added to each URL, such as Azure's `{"api-version": "2024-10-21"}`. No secrets.
        headers: Added to each request. A value "env:NAME" is that environment variable's; what may
            be secret has to be one.
        api_key_env: Name of the environment variable that holds the key, which is itself never
            an argument, so that it reaches no checkpoint, config or log; None for a server that
            asks for none.
        style: Wording of the prompt: "original", "concise" or "extended".
        view: What the model is shown: the "masked" picture, an "overlay", or "both".
        samples: How often the model is asked about a picture; the median counts.
        request: Further entries of the request body, such as `temperature`, `seed`,
            `reasoning_effort` or `max_completion_tokens`. With several samples, a `seed` is
            raised by one for each.
        timeout_s: Longest silence of the server in one try, in seconds.
        call_timeout_s: Longest time for one judgement with all its tries, in seconds. Calls that a
            server refuses for their number are sent again for as long, at the pace that it takes.
        max_retries: Further tries after another failure that may pass; 0 for none.
        wait_s: How long a server that is still loading (503, or nobody listens) is waited for
            before its first answer, in seconds.
        concurrency: Most requests under way at a time; rate limits lower it for a while.
        picture_format: "png" or "jpeg".
        min_side: Smaller pictures are enlarged until their longer side has this many pixels;
            0 leaves them as they are.
        budget: The most that may be spent; no limit if None.
        prices: US dollars per million tokens, [prompt, answer], by model; they win over the
            table in `judges.prices`.
        cache: Whether answers are kept in the run folder and never paid for again, or the path
            of a file to keep them in.

    Raises:
        ConfigurationError: If an argument is not as described.

    Example:
        >>> judge = VLMJudge("gemini-2.5-flash-lite", api_key_env="GEMINI_API_KEY")
        >>> judge.name.startswith("gemini-2.5-flash-lite (original prompt ")
        True

    Source: Nguyen, Pham, Ngo and Hy, 2025, arXiv 2508.20227.
    """

    needs_class_names = True  # nobody can be asked whether a picture shows "2"

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key_env: str | None = "OPENAI_API_KEY",
        style: str = "original",
        view: str = "masked",
        samples: int = 1,
        request: dict[str, Any] | None = None,
        timeout_s: float = 60.0,
        call_timeout_s: float = 180.0,
        max_retries: int = 2,
        wait_s: float = 0.0,
        concurrency: int = 8,
        picture_format: str = "png",
        min_side: int = 0,
        budget: Budget | None = None,
        prices: dict[str, list[float]] | None = None,
        cache: bool | str = True,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        require("model", "the name of a model", bool(model.strip()), repr(model), "Pass one")
        base_url = base_url and base_url.strip()
        check_base_url(base_url)
        check_values("query", query or {}, logged=True)
        check_values("headers", headers or {}, logged=False)
        check_key_name(api_key_env)
        check_settings(request or {})
        one_of("style", style, STYLES)
        one_of("view", view, VIEWS)
        one_of("picture_format", picture_format, FORMATS)
        at_least("samples", samples, 1)
        at_least("max_retries", max_retries, 0)
        at_least("concurrency", concurrency, 1)
        at_least("min_side", min_side, 0)
        for name, seconds in (("timeout_s", timeout_s), ("call_timeout_s", call_timeout_s)):
            require(name, "above 0 seconds", seconds > 0, seconds, "Pass a longer time")
        require("wait_s", "at least 0 seconds", wait_s >= 0, wait_s, "Pass 0 or a time")
        self.model = model
        self._base_url = base_url
        self._query = dict(query or {})
        self._headers = dict(headers or {})
        self._api_key_env = api_key_env
        self._style = style
        self._view = view
        self._samples = samples
        self._settings = dict(request or {})
        self._timeout_s = timeout_s
        self._call_timeout_s = call_timeout_s
        self._max_retries = max_retries
        self.wait_s = wait_s
        self._concurrency = concurrency
        self._picture_format = picture_format
        self._min_side = min_side
        self._budget = budget
        self._price = price_of(model, prices or {})
        self._prompt = load_prompt(style, view)
        self._run_dir: Path | None = None
        self._cache_choice = cache
        self._share = concurrency
        self._client: ChatClient | None = None
        self._encoder: ThreadPoolExecutor
        self._session: Session
        self._asker: Asker

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of: nothing that `open` makes, which is this process's."""
        made = {"_encoder", "_session", "_asker"}
        kept = {name: vars(self)[name] for name in vars(self).keys() - made}
        return kept | {"_client": None}

    @property
    def name(self) -> str:
        """The model, and how it is asked: style, version and view of the prompt."""
        return f"{self.model} ({self._style} prompt {self.prompt_version}, {self._view} view)"

    @property
    def prompt_version(self) -> str:
        """Version of the prompt's wording, 12 hexadecimal digits."""
        return self._prompt.version

    @property
    def concurrency(self) -> int:
        """How many requests to hand over at a time: a quarter more than are sent wait, encoded."""
        return self._share + max(1, self._share // 4)

    def expect_captions(self) -> None:
        """Ask about captions from now on, not about classes; another prompt, of its own version."""
        self._prompt = load_prompt(self._style, self._view, "caption")

    def bind(self, run_dir: Path, *, world_size: int = 1) -> None:
        """Keep cache, account and call log in this folder, and take one process's share.

        Args:
            run_dir: Of the run; made if need be. The processes of one machine may share it.
            world_size: Over how many processes the concurrency is spread.
        """
        self._run_dir = Path(run_dir)
        self._share = max(1, self._concurrency // world_size)

    def check(self) -> None:
        """Raise `ConfigurationError` if the key, or the price for a dollar budget, is missing."""
        self._read_key()
        read_values("headers", self._headers)
        require(
            "budget",
            f"in calls, because no price is known for {self.model}",
            self._budget is None or self._budget.max_usd is None or self._price is not None,
            "max_usd",
            f"Pass prices={{{self.model!r}: [dollars per million prompt tokens, per million "
            "answer tokens]} or Budget(max_calls=...)",
        )

    def estimate(self, *, pictures: int, rounds: int) -> Estimate:
        """Return what judging so many pictures in each of so many rounds takes."""
        return self._estimate(pictures * rounds * self._samples)

    async def open(self) -> None:
        """Make client and files, in the loop where they are used."""
        self.check()
        folder = self._run_dir
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        cache = ledger = None
        if isinstance(self._cache_choice, str):
            cache = VerdictCache(Path(self._cache_choice).expanduser())
        elif self._cache_choice and folder is not None:
            cache = VerdictCache(folder / CACHE_FILE)
        if self._budget is not None:
            ledger = Ledger(self._budget, folder and folder / LEDGER_FILE)
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="vlmxai-encoder")
        self._client = ChatClient(
            base_url=self._base_url,
            api_key=self._read_key(),
            timeout_s=self._timeout_s,
            query=self._query,
            headers=read_values("headers", self._headers),
            secrets=secret_names(self._headers),
        )
        self._session = Session(
            self._client,
            limit=AdaptiveLimit(self._share, first=1),
            max_retries=self._max_retries,
            wait_s=self.wait_s,
        )
        self._asker = Asker(
            session=self._session,
            interviewer=Interviewer(
                self._session, model=self.model, prompt=self._prompt, settings=self._settings
            ),
            call_log=CallLog(folder and folder / LOG_FILE),
            cache=cache,
            ledger=ledger,
            model=self.model,
            look_around=partial(
                look_around, self._client.base_url, self.model, self._client.list_models
            ),
            base_url=self._client.base_url,
            query=self._query,
            prompt=self._prompt,
            settings=self._settings,
            price=self._price,
            held_usd=self._estimate(1).cost_usd or 0.0,
            call_timeout_s=self._call_timeout_s,
            picture_format=self._picture_format,
        )

    async def close(self) -> None:
        """Close every connection and file. Safe to call twice."""
        if self._client is None:
            return
        await self._asker.close()
        await self._client.close()
        self._client = None
        self._encoder.shutdown()

    async def judge(self, request: JudgeRequest) -> Verdict:
        """Return the model's verdict, or why there is none."""
        started = time.monotonic()
        if not neutralize_label(request.label_name):
            return Verdict.unscored(
                UnscoredReason.BAD_REQUEST,
                expected("label_name", "a readable name", repr(request.label_name), "Rename it"),
            )
        try:
            # On a thread of its own, so that sending does not wait for compressing.
            files = await asyncio.get_running_loop().run_in_executor(
                self._encoder, self._encode, request
            )
        except ConfigurationError as error:
            return Verdict.unscored(UnscoredReason.BAD_REQUEST, str(error))
        verdicts = await asyncio.gather(
            *(self._asker.ask(request, files, number) for number in range(self._samples))
        )
        return combine_samples(verdicts, latency_s=time.monotonic() - started)

    def questions(self, request: JudgeRequest, base_url: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what is asked about a picture: for each sample its key and the request's body.

        Args:
            request: What is judged.
            base_url: Of the server, as the client has it.

        Raises:
            ConfigurationError: If the picture or the label can't be asked about.
        """
        require(
            "label_name",
            "a readable name",
            bool(neutralize_label(request.label_name)),
            repr(request.label_name),
            "Rename it",
        )
        files = self._encode(request)
        content = make_content(
            self._prompt.with_label(request.label_name), files, self._picture_format
        )
        asked = []
        for number in range(self._samples):
            key = question_key(
                files,
                request.label_name,
                number,
                prompt=self._prompt,
                model=self.model,
                base_url=base_url,
                query=self._query,
                settings=self._settings,
            )
            seed = self._settings.get("seed")
            own = {"seed": seed + number} if isinstance(seed, int) else {}
            messages = [{"role": "user", "content": content}]
            settings = {**self._settings, **own}
            asked.append((key, make_body(messages, model=self.model, settings=settings)))
        return asked

    async def find_base_url(self) -> str:
        """Return where the requests would go; nothing is sent."""
        client = ChatClient(base_url=self._base_url, api_key=None, timeout_s=self._timeout_s)
        try:
            return client.base_url
        finally:
            await client.close()

    def _encode(self, request: JudgeRequest) -> list[bytes]:
        return encode_views(
            request, self._view, picture_format=self._picture_format, min_side=self._min_side
        )

    def _estimate(self, calls: int) -> Estimate:
        limits = (self._settings.get(key) for key in ("max_completion_tokens", "max_tokens"))
        return estimate(
            calls=calls,
            prompt_characters=len(self._prompt.template),
            pictures=2 if self._view == "both" else 1,
            answer_tokens=next((limit for limit in limits if isinstance(limit, int)), None),
            price=self._price,
        )

    def _read_key(self) -> str | None:
        if self._api_key_env is None:
            return None
        key = os.environ.get(self._api_key_env, "").strip()
        check_key(self._api_key_env, key)
        return key
