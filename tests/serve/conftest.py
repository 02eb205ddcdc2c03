"""Servers that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

for library in ("fastapi", "uvicorn", "prometheus_client", "openai", "httpx"):
    pytest.importorskip(library)

from tests.serve.tiny import Running, Tiny  # noqa: E402


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    with Running(Tiny()) as server:
        yield server


@pytest.fixture
def client(running: Running) -> Any:
    import openai

    return openai.OpenAI(base_url=f"{running.address}/v1", api_key="none", max_retries=0)
