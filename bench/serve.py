"""`make soak`: many clients at once, some rude; and the server beside `generate` in one run.

    python bench/serve.py soak --seconds 600 --json out.json
    python bench/serve.py throughput --json out.json

The soak has 64 streams on one server for the whole time. A third is cancelled at random, one in ten
is malformed; greedy texts are compared with plain decoding. Memory, caches, tasks and the server's
own time are read from /metrics and /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from anydraft import SamplingParams, SpeculativeSession, _core, native
from anydraft.bench.timing import machine
from anydraft.cache_folder import cache_folder

NAME = "soaked"
SAMPLES = 30  # of memory and tasks, over a soak
WORDS = "river stone lamp green number paper window seven cloud bread music winter road".split()


class Server:
    """`anydraft serve` in a process of its own."""

    def __init__(self, target: str, *options: str) -> None:
        command = [sys.executable, "-m", "anydraft", "serve", "--target", target]
        command += ["--drafter", "lookup", "--port", "0", "--name", NAME, "--quiet", *options]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        said = ""
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", said)):
            line = self._process.stderr.readline()
            assert line, said
            said += line
        self.port = int(found[1])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(60) == 0

    def usage(self) -> dict[str, int]:
        """Resident bytes, open files and threads."""
        folder = Path(f"/proc/{self._process.pid}")
        status = dict(re.findall(r"(\w+):\s+(\d+)", (folder / "status").read_text()))
        files = len(list((folder / "fd").iterdir()))
        return {
            "rss": int(status["VmRSS"]) << 10,
            "files": files,
            "threads": int(status["Threads"]),
        }


async def ask(port: int, body: bytes, path: str = "completions", *, most: int = 10**9) -> Any:
    """(status, text, chunks); `most`: chunks after which the client goes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST /v1/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        head += f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        texts: list[str] = []
        async for line in reader:
            if line.startswith(b"data: {"):
                choice = json.loads(line[6:])["choices"][0]
                texts.append(
                    choice["text"] if "text" in choice else choice["delta"].get("content", "")
                )
                if len(texts) >= most:
                    writer.transport.abort()
                    break
            elif line.startswith(b"{"):
                told = json.loads(line)
                texts.append(told["choices"][0]["text"] if status == 200 else "")
        return status, "".join(texts), len(texts)
    finally:
        writer.close()


async def metrics(port: int) -> dict[str, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    lines = (await reader.read()).decode().splitlines()
    writer.close()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("anydraft_"))
    return {name: float(value) for name, value in pairs}


def quantile(found: dict[str, float], name: str, share: float) -> float:
    """Of a histogram, the upper end of its bucket: the true one is not above."""
    pattern = re.compile(rf'anydraft_{name}_bucket{{le="(.*)"}}')
    buckets = [(float(m[1]), value) for key, value in found.items() if (m := pattern.match(key))]
    total = max(value for _, value in buckets)
    return next(end for end, value in sorted(buckets) if value >= share * total)


# ---- Soak ----------------------------------------------------------------------------------------
MALFORMED: list[tuple[bytes, int]] = [
    (b"{", 400),
    (b"\xff\xfe", 400),
    (b"[" * 3000, 400),
    (json.dumps({"model": NAME, "prompt": "x", "unknown": 1}).encode(), 400),
    (json.dumps({"model": NAME, "prompt": "x", "max_tokens": "many"}).encode(), 400),
    (json.dumps({"model": NAME, "prompt": "x", "max_tokens": 10**6}).encode(), 400),
    (json.dumps({"model": "another", "prompt": "x"}).encode(), 404),
    (b'{"prompt": "' + b"x" * (3 << 20) + b'"}', 413),
]


class Soak:
    def __init__(self, port: int, expected: dict[str, tuple[str, int]], seed: int) -> None:
        self._port, self._expected = port, expected
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def stream(self, end: float) -> None:
        """One of the concurrent ones: a request after another."""
        while time.monotonic() < end:
            kind = self._random.random()
            try:
                if kind < 0.1:
                    await self._malformed()
                else:
                    await self._text(cancelled=kind < 0.1 + 0.3)  # a third of the others
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                self.wrong.append(f"connection: {error!r}")

    async def _malformed(self) -> None:
        body, expected = self._random.choice(MALFORMED)
        try:
            status, _, _ = await ask(self._port, body)
        except (ConnectionError, IndexError):
            if expected != 413:  # a body that is not read may be answered by a reset
                raise
            status = 413
        self.counts["malformed"] += 1
        if status != expected:
            self.wrong.append(f"{body[:60]!r}: {status}")

    async def _text(self, *, cancelled: bool) -> None:
        prompt = self._random.choice(list(self._expected))
        text, tokens = self._expected[prompt]
        stream = cancelled or self._random.random() < 0.8
        body = {"model": NAME, "prompt": prompt, "temperature": 0, "max_tokens": tokens,
                "stream": stream}  # fmt: skip
        most = self._random.randrange(1, 40) if cancelled else 10**9
        status, got, _ = await ask(self._port, json.dumps(body).encode(), most=most)
        self.counts["cancelled" if cancelled else "streamed" if stream else "whole"] += 1
        if status != 200 or (got != text if not cancelled else not text.startswith(got)):
            self.wrong.append(f"{prompt!r}: {status}, {got[:200]!r}")


async def soak(args: argparse.Namespace, server: Server, expected: Any) -> dict[str, Any]:
    end = time.monotonic() + args.seconds
    running = Soak(server.port, expected, seed=0)
    streams = [asyncio.create_task(running.stream(end)) for _ in range(args.streams)]
    samples = []
    for i in range(SAMPLES):
        await asyncio.sleep(max(end - time.monotonic(), 0) / (SAMPLES - i))
        told = await metrics(server.port)
        names = ("active_texts", "waiting_requests", "tasks", "requests_with_cache")
        gauges = {name: int(told[f"anydraft_{name}"]) for name in names}
        samples.append({**server.usage(), **gauges})
        print(f"{(i + 1) / SAMPLES:.0%} {samples[-1]} {dict(running.counts)}", flush=True)
    await asyncio.gather(*streams)
    await asyncio.sleep(2)
    last = await metrics(server.port)
    left = {name: int(last[f"anydraft_{name}"]) for name in (*names, "cache_bytes_reserved")}
    tokens = sum(v for k, v in last.items() if k.startswith("anydraft_tokens_total"))
    rss = [sample["rss"] for sample in samples]
    third = len(rss) // 3
    return {
        "seconds": args.seconds,
        "streams": args.streams,
        "requests": dict(running.counts),
        "requests_in_all": sum(running.counts.values()),
        "wrong": running.wrong[:20],
        "wrong_count": len(running.wrong),
        "tokens_per_second": round(tokens / args.seconds, 1),
        "own_p99_ms": 1000 * quantile(last, "own_seconds", 0.99),
        "own_mean_ms": 1000 * last["anydraft_own_seconds_sum"] / last["anydraft_own_seconds_count"],
        "delivery_p50_ms": 1000 * quantile(last, "delivery_seconds", 0.5),
        "delivery_p99_ms": 1000 * quantile(last, "delivery_seconds", 0.99),
        "rss_mib_middle_third": round(statistics.median(rss[third : 2 * third]) / 2**20, 1),
        "rss_mib_last_third": round(statistics.median(rss[2 * third :]) / 2**20, 1),
        "left_at_the_end": {**left, **server.usage()},
        "samples": samples,
    }


def expected_texts(session: SpeculativeSession, count: int) -> dict[str, tuple[str, int]]:
    """Prompts with their greedy texts, plainly decoded, and how many tokens those may have."""
    choice = random.Random(1)
    prompts = [" ".join(choice.choices(WORDS, k=choice.randrange(2, 60))) for _ in range(count)]
    prompts = list(dict.fromkeys(prompts))
    sizes = [choice.randrange(8, 160) for _ in prompts]
    made = session.generate(prompts, max_tokens=sizes, batch_size=32)
    return {p: (m.text, size) for p, m, size in zip(prompts, made, sizes, strict=True)}


# ---- Throughput ----------------------------------------------------------------------------------
async def served(port: int, prompts: list[str], tokens: int) -> float:
    """Tokens a second of as many streams as prompts."""
    bodies = [
        json.dumps({"model": NAME, "prompt": prompt, "temperature": 0, "max_tokens": tokens,
                    "ignore_eos": True, "stream": True}).encode()
        for prompt in prompts
    ]  # fmt: skip
    started = time.perf_counter()
    answers = await asyncio.gather(*(ask(port, body) for body in bodies))
    assert all(status == 200 for status, _, _ in answers)
    return len(prompts) * tokens / (time.perf_counter() - started)


def throughput(args: argparse.Namespace, server: Server, target: Any) -> dict[str, Any]:
    greedy = SamplingParams(temperature=0, ignore_eos=True, max_tokens=args.tokens)
    session = SpeculativeSession(target, "lookup", draft_length="auto", sampling=greedy)
    choice = random.Random(2)
    prompts = [" ".join(choice.choices(WORDS, k=12)) for _ in range(8)]
    direct, streamed = [], []
    for i in range(args.runs + 1):
        started = time.perf_counter()
        session.generate(prompts)
        speed = 8 * args.tokens / (time.perf_counter() - started)
        over = asyncio.run(served(server.port, prompts, args.tokens))
        print(f"generate {speed:.0f}, server {over:.0f} tokens/s, {over / speed:.3f}", flush=True)
        if i:  # the first one warms up
            direct.append(speed)
            streamed.append(over)
    ratios = [a / b for a, b in zip(streamed, direct, strict=True)]
    return {
        "streams": 8,
        "tokens": args.tokens,
        "generate_tokens_per_second": [round(speed, 1) for speed in direct],
        "server_tokens_per_second": [round(speed, 1) for speed in streamed],
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    option = parser.add_argument
    option("what", choices=("soak", "throughput"))
    option("--target", default=str(cache_folder() / "gguf" / "smollm2-135m.gguf"))
    option("--seconds", type=int, default=600)
    option("--streams", type=int, default=64)
    option("--tokens", type=int, default=192)
    option("--runs", type=int, default=7)
    option("--json", type=Path, help="results; what else is in the file stays")
    option("--label", help="of these in the file (default: soak or throughput)")
    args = parser.parse_args()
    before = os.getloadavg()
    target = native.load(args.target)
    if args.what == "soak":
        expected = expected_texts(
            SpeculativeSession(target, sampling=SamplingParams(temperature=0)), 150
        )
        options = ("--max-active", str(args.streams), "--max-queue", "256")
        with Server(args.target, *options) as server:
            result = asyncio.run(soak(args, server, expected))
    else:
        with Server(args.target) as server:
            result = throughput(args, server, target)
    result["load_average_before"] = [round(load, 2) for load in before]
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    told = {"date": today, "machine": machine(_core.threads()), "target": target.description}
    told |= {"drafter": "lookup", **result}
    print(json.dumps({key: value for key, value in told.items() if key != "samples"}, indent=1))
    if args.json:
        known = json.loads(args.json.read_text()) if args.json.exists() else {}
        known |= {args.label or args.what: told}
        args.json.write_text(json.dumps(known, indent=1) + "\n")
    return 1 if args.what == "soak" and result["wrong_count"] else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
