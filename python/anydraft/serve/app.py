"""The endpoints."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from anydraft import __version__
from anydraft.async_session import AsyncSession
from anydraft.loading import describe
from anydraft.page import live_page
from anydraft.serve.admission import Admission
from anydraft.serve.answer import Answer, Serving, told_for_log
from anydraft.serve.errors import ApiError, out_of_time
from anydraft.serve.http import check_key, read_body
from anydraft.serve.logprobs import TokenTexts
from anydraft.serve.memory import CacheCost, free_memory
from anydraft.serve.metrics import CONTENT_TYPE, Metrics
from anydraft.serve.options import ServerOptions
from anydraft.serve.prompts import PromptReader
from anydraft.serve.sampling import sampling_of
from anydraft.serve.schema import ChatRequest, CompletionRequest, read
from anydraft.serve.schema import Request as Asked
from anydraft.serve.style import Choice, Style
from anydraft.serve.tools import ToolSplitter
from anydraft.session import SpeculativeSession

log = logging.getLogger("anydraft.serve")
Read = TypeVar("Read")


def create_app(session: SpeculativeSession, options: ServerOptions | None = None) -> FastAPI:
    """An ASGI application that owns the session.

    `run` serves it with the limits on connections; another ASGI server has its own.

    Raises:
        InputError: an encoder-decoder as the target.
    """
    return _Endpoints(session, options or ServerOptions()).app()


class _Endpoints:
    def __init__(self, session: SpeculativeSession, options: ServerOptions) -> None:
        self._session, self._options = session, options
        self._texts = TokenTexts(session.target.vocabulary)
        self._prompts = PromptReader(
            session.target, options.tool_format, options.default_max_tokens
        )
        self._cost = CacheCost(session)
        capacity = options.cache_bytes or free_memory() // 2
        admission = Admission(
            options.max_active, capacity, options.max_queue, options.queue_timeout
        )
        streams = AsyncSession(session)
        self._serving = Serving(streams, options, admission, Metrics(admission, session.target))
        self._created = int(time.time())

    def app(self) -> FastAPI:
        app = FastAPI(
            title="anydraft",
            version=__version__,
            docs_url=None,  # its page would load scripts from elsewhere
            redoc_url=None,
            lifespan=self._lifespan,
        )
        app.state.serving = self._serving
        for path, endpoint, kind in (
            ("/v1/completions", self.completions, CompletionRequest),
            ("/v1/chat/completions", self.chat, ChatRequest),
        ):
            app.add_api_route(path, endpoint, methods=["POST"], openapi_extra=_body_of(kind))
        app.add_api_route("/v1/models", self.models, methods=["GET"])
        app.add_api_route("/v1/models/{name:path}", self.model, methods=["GET"])
        app.add_api_route("/health", self.health, methods=["GET"])
        app.add_api_route("/metrics", self.metrics, methods=["GET"])
        app.add_api_route("/", self.page, methods=["GET"], include_in_schema=False)
        app.add_exception_handler(ApiError, self._refused)
        app.add_exception_handler(HTTPException, self._refused)
        app.add_exception_handler(Exception, self._failed)
        if self._options.cors_origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=list(self._options.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
            )
        return app

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._serving.admission.draining = True
            await self._serving.streams.close()
            self._prompts.close()

    async def completions(self, request: Request) -> Response:
        """Texts that go on from prompts."""
        started = time.perf_counter()
        asked = await self._asked(request, CompletionRequest)
        prompts, most = await self._in_time(started, self._prompts.completion(asked))
        count = asked.n or 1
        choices = [
            Choice(i * count + j, prompt) for i, prompt in enumerate(prompts) for j in range(count)
        ]
        return self._answer(asked, choices, most, started)

    async def chat(self, request: Request) -> Response:
        """Answers in a chat."""
        started = time.perf_counter()
        asked = await self._asked(request, ChatRequest)
        prompt, most = await self._in_time(started, self._prompts.chat(asked))
        names = frozenset(tool.function.name for tool in asked.tools or ())
        form = self._prompts.tool_format if self._prompts.uses_tools(asked) else "none"
        choices = [
            Choice(i, prompt, None if form == "none" else ToolSplitter(form, names))
            for i in range(asked.n or 1)
        ]
        return self._answer(asked, choices, most, started)

    async def models(self, request: Request) -> dict[str, Any]:
        """The one model."""
        check_key(request, self._options)
        return {"object": "list", "data": [self._model()]}

    async def model(self, request: Request, name: str) -> dict[str, Any]:
        """The one model, by its name."""
        check_key(request, self._options)
        if name != self._options.name:
            raise self._unknown(name)
        return self._model()

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._options.name,
            "object": "model",
            "created": self._created,
            "owned_by": "anydraft",
            "max_model_len": getattr(self._session.target, "context_length", None),
            "anydraft": self._described(),
        }

    def _unknown(self, name: str) -> ApiError:
        told = f"expected the model {self._options.name}, got {name[:100]}"
        return ApiError(404, told, param="model", code="model_not_found")

    async def health(self) -> Response:
        """Whether requests are taken."""
        draining = self._serving.admission.draining
        return JSONResponse({"status": "draining" if draining else "ok"}, 503 if draining else 200)

    async def metrics(self) -> Response:
        """For Prometheus."""
        return Response(self._serving.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def page(self) -> Response:
        """A chat that shows where each token came from."""
        body, headers = live_page()
        return Response(body, headers=headers)

    async def _asked(self, request: Request, kind: type[Any]) -> Any:
        check_key(request, self._options)
        asked = read(kind, await read_body(request, self._options))
        if asked.model != self._options.name:
            raise self._unknown(asked.model)
        if asked.stream_options and not asked.stream:
            raise ApiError(400, "stream_options needs stream: true", param="stream_options")
        if self._options.log_prompts:
            log.info("asked: %s", asked.model_dump_json(exclude_unset=True))
        return asked

    async def _in_time(self, started: float, reading: Coroutine[Any, Any, Read]) -> Read:
        """A prompt, read within the request's time: others may stand before it."""
        most = self._options.request_timeout
        try:
            return await asyncio.wait_for(reading, started + most - time.perf_counter())
        except asyncio.TimeoutError:
            raise out_of_time(most) from None

    def _answer(self, asked: Asked, choices: list[Choice], most: int, started: float) -> Response:
        cost = sum(self._cost.of(len(choice.prompt) + most) for choice in choices)
        style = Style(asked, self._options.name, self._texts)
        sampling = sampling_of(asked, most)
        return Answer(
            self._serving, style, choices, sampling,
            cost=cost, stream=asked.stream, started=started,
        )  # fmt: skip

    async def _refused(self, _: Request, error: Any) -> Response:
        if not isinstance(error, ApiError):
            error = ApiError(error.status_code, str(error.detail), headers=error.headers)
        self._serving.metrics.responses.labels(str(error.status)).inc()
        return JSONResponse(error.body, error.status, headers=error.headers)

    async def _failed(self, _: Request, error: Exception) -> Response:
        log.error("%s", told_for_log(error, self._options))
        self._serving.metrics.responses.labels("500").inc()
        return JSONResponse(ApiError(500, "the server failed").body, 500)

    def _described(self) -> dict[str, Any]:
        drafter = self._session.drafter
        named = drafter if isinstance(drafter, str) else drafter and describe(drafter)
        target = describe(self._session.target)
        return {
            "target": target,
            "drafter": named,
            "drafter_name": self._options.drafter_name,
            "bridge": self._session.bridge,
            "chat": self._prompts.takes_chats,
        }


def _body_of(kind: type[Asked]) -> dict[str, Any]:
    schema = kind.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
