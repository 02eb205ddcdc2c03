"""Many streams at once in asyncio: each gives what it gives alone, and nothing is left behind."""

import asyncio
import gc
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from toys import DRAFTER, TARGET, TableModel

from anydraft import AsyncSession, Error, InputError, SamplingParams, SpeculativeSession

PROMPTS = [[i % 3, *([i % 5] * (i % 4))] for i in range(40)]


def session(bridge="tli", **options):
    return SpeculativeSession(
        TableModel(TARGET, 1, padding=2), TableModel(DRAFTER, 2), bridge=bridge, **options
    )


def seeded(i, **options):
    return SamplingParams(temperature=1.2, seed=i, ignore_eos=True, **{"max_tokens": 12, **options})


def left_behind(inner):
    """Requests of the engine and caches of the models that nobody asks for any more."""
    return len(inner._engine), dict(inner.target.texts), dict(inner.drafter.texts)


NOTHING = (0, {}, {})


async def text_of(streams, prompt, **options):
    return "".join([event.text async for event in streams.stream(prompt, **options)])


async def others():
    """Tasks beside this one, once those that end have ended."""
    for _ in range(20):
        await asyncio.sleep(0.005)
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("bridge", ["tli", "slem", "slrs", "auto"])
def test_many_streams_give_what_generate_gives(bridge):
    alone = session(bridge)
    params = [seeded(i, max_tokens=i % 30) for i in range(len(PROMPTS))]
    expected = [alone.generate(p, sampling=s).text for p, s in zip(PROMPTS, params, strict=True)]
    inner = session(bridge)

    async def main():
        async with AsyncSession(inner) as streams:
            calls = [text_of(streams, p, sampling=s) for p, s in zip(PROMPTS, params, strict=True)]
            texts = await asyncio.gather(*calls)
            assert streams.active == 0 and not await others()
            return texts

    assert asyncio.run(main()) == expected
    assert left_behind(inner) == NOTHING
    assert inner.target.calls < alone.target.calls / 3  # calls are shared


def test_generate_and_stream_tell_the_same():
    async def main():
        async with AsyncSession(session()) as streams:
            made = await streams.generate([0, 1], sampling=seeded(3, logprobs=1))
            assert made.text == await text_of(streams, [0, 1], sampling=seeded(3))
            assert (made.finish_reason, len(made.logprobs)) == ("length", 12)

    asyncio.run(main())


def test_closing_the_iterator_cancels():
    inner = session()

    async def main():
        async with AsyncSession(inner) as streams:
            stream = streams.stream([0], sampling=seeded(1, max_tokens=10**6))
            async for _ in stream:
                break
            assert streams.active == 1
            await stream.aclose()
            assert streams.active == 0 and left_behind(inner) == NOTHING
            assert not await others()
            assert await text_of(streams, [0], sampling=seeded(1))  # it goes on for others

    asyncio.run(main())


def test_a_dropped_iterator_cancels():
    inner = session()

    async def main():
        async with AsyncSession(inner) as streams:
            stream = streams.stream([0], sampling=seeded(1, max_tokens=10**6))
            await anext(stream)
            del stream
            gc.collect()
            assert not await others()
            assert streams.active == 0 and left_behind(inner) == NOTHING

    asyncio.run(main())


@pytest.mark.parametrize("after", [0, 0.0005, 0.05])
def test_a_cancelled_task_leaves_nothing(after):
    inner = session()

    async def main():
        async with AsyncSession(inner) as streams:
            long = seeded(1, max_tokens=10**6)
            tasks = [asyncio.create_task(text_of(streams, [0], sampling=long)) for _ in range(3)]
            tasks += [asyncio.create_task(streams.generate([0], sampling=long)) for _ in range(3)]
            await asyncio.sleep(after)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
            assert not await others()
            assert streams.active == 0 and left_behind(inner) == NOTHING

    asyncio.run(main())


def test_a_slow_reader_holds_only_itself_back():
    inner = session()

    async def main():
        async with AsyncSession(inner, ahead=4) as streams:
            slow = streams.stream([0], sampling=seeded(7, max_tokens=300))
            first = await anext(slow)
            await asyncio.sleep(0.2)  # alone it would go on
            quick = await text_of(streams, [1], sampling=seeded(8, max_tokens=300))
            for seed in range(12):  # requests that come begin rounds anew
                await text_of(streams, [1], sampling=seeded(seed, max_tokens=5))
            held = next(iter(streams._streams.values())).handle
            # 4 wait, and the round that came to them brought at most 5.
            assert len(held.tokens) <= 1 + 4 + 5
            rest = "".join([event.text async for event in slow])
            return quick, first.text + rest

    quick, slow = asyncio.run(main())
    assert quick == session().generate([1], sampling=seeded(8, max_tokens=300)).text
    assert slow == session().generate([0], sampling=seeded(7, max_tokens=300)).text


def test_an_error_of_one_request_is_its_own():
    inner = session()

    def broken(prompt, output, row):
        if len(output) == 5:
            raise ZeroDivisionError("the fifth token")
        return row

    async def main():
        async with AsyncSession(inner) as streams:
            calls = [
                text_of(streams, p, sampling=seeded(i), logits_processor=broken if i == 2 else None)
                for i, p in enumerate(PROMPTS[:5])
            ]
            texts = await asyncio.gather(*calls, return_exceptions=True)
            assert not await others()
            return texts

    texts = asyncio.run(main())
    assert isinstance(texts[2], ZeroDivisionError)
    for i in (0, 1, 3, 4):
        assert texts[i] == session().generate(PROMPTS[i], sampling=seeded(i)).text
    assert left_behind(inner) == NOTHING


def test_an_encoder_that_throws_costs_drafts():
    def encode(text):
        if text.startswith("c"):
            raise ZeroDivisionError(text)
        return TARGET.encode(text)

    target, drafter = TableModel(TARGET, 1), TableModel(DRAFTER, 2)
    names = [DRAFTER.token_bytes(i) or b"" for i in range(DRAFTER.size)]
    from anydraft import Vocabulary

    def drafter_encode(text):
        if text.startswith("c"):
            raise ZeroDivisionError(text)
        return DRAFTER.encode(text)

    drafter.vocabulary = Vocabulary.from_bytes(
        names,
        encoder=drafter_encode,
        specials=DRAFTER.specials,
        roles={"eos": DRAFTER.role("eos")},
    )
    inner = SpeculativeSession(target, drafter, bridge="slem")

    async def main():
        async with AsyncSession(inner) as streams:
            calls = [text_of(streams, [i], sampling=seeded(i)) for i in range(3)]
            texts = await asyncio.gather(*calls, return_exceptions=True)
            assert not await others()
            return texts

    texts = asyncio.run(main())
    plain = SpeculativeSession(TableModel(TARGET, 1))
    for i, text in enumerate(texts):
        assert text == plain.generate([i], sampling=seeded(i)).text
    assert left_behind(inner) == NOTHING


def test_a_prompt_of_other_ids_and_no_events_asked_for_cost_their_own_request():
    inner = session()

    async def main():
        async with AsyncSession(inner) as streams:
            other = asyncio.ensure_future(text_of(streams, [1], sampling=seeded(1)))
            with pytest.raises(InputError, match=rf"prompt tokens in \[0, {TARGET.size}\), got 99"):
                await text_of(streams, [0, 99], sampling=seeded(2))
            async with streams.open([0], sampling=seeded(3)) as request:
                for wrong in (0, -1, 1.5):
                    with pytest.raises(InputError, match="most >= 1, got"):
                        await asyncio.wait_for(request.take(wrong), 5)
            return await other

    assert asyncio.run(main())
    assert left_behind(inner) == NOTHING


@pytest.mark.parametrize("side", ["target", "drafter"])
def test_a_models_exception_reaches_all_and_the_session_goes_on(side):
    inner = session()
    model = getattr(inner, side)

    def flaky(feeds):
        rows = model(feeds)
        if model.calls == 4:
            raise ConnectionError("the accelerator went away")
        return rows

    flaky.vocabulary, flaky.forget = model.vocabulary, model.forget
    setattr(inner, side, flaky)

    async def main():
        async with AsyncSession(inner) as streams:
            calls = [text_of(streams, p, sampling=seeded(1)) for p in PROMPTS[:4]]
            for text in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(text, ConnectionError)
            assert not await others()
            again = await text_of(streams, PROMPTS[0], sampling=seeded(1))
            assert again == session().generate(PROMPTS[0], sampling=seeded(1)).text

    asyncio.run(main())
    setattr(inner, side, model)
    assert left_behind(inner) == NOTHING


def test_close_while_streaming():
    inner = session()

    async def main():
        streams = AsyncSession(inner)
        long = seeded(1, max_tokens=10**6)
        readers = [asyncio.create_task(text_of(streams, [0], sampling=long)) for _ in range(3)]
        readers += [asyncio.create_task(streams.generate([0], sampling=long))]
        await asyncio.sleep(0.05)
        late = asyncio.create_task(text_of(streams, [0], sampling=long))
        await streams.close()
        for told in await asyncio.gather(*readers, late, return_exceptions=True):
            assert isinstance(told, Error) and "clos" in str(told)
        with pytest.raises(InputError, match="open session, got a closed one"):
            await text_of(streams, [0])
        await streams.close()  # again: nothing
        assert not await others()

    asyncio.run(main())
    assert left_behind(inner) == NOTHING


def test_event_loops_one_after_another_work_and_beside_each_other_are_refused():
    inner = session()
    streams = AsyncSession(inner)
    expected = session().generate([0], sampling=seeded(1)).text
    for _ in range(3):
        assert asyncio.run(text_of(streams, [0], sampling=seeded(1))) == expected

    async def given_up():  # its loop ends while the text goes on
        stream = streams.stream([0], sampling=seeded(1, max_tokens=10**6))
        await anext(stream)

    asyncio.run(given_up())
    assert asyncio.run(text_of(streams, [0], sampling=seeded(1))) == expected

    told = []

    def elsewhere():
        try:
            asyncio.run(text_of(streams, [1], sampling=seeded(1)))
        except InputError as error:
            told.append(str(error))

    async def main():
        stream = streams.stream([0], sampling=seeded(1, max_tokens=10**6))
        await anext(stream)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        await stream.aclose()
        await streams.close()

    asyncio.run(main())
    assert len(told) == 1 and "one event loop" in told[0]
    assert left_behind(inner) == NOTHING


def test_a_session_is_closed_in_another_loop_than_it_was_used_in():
    streams = AsyncSession(session())
    asyncio.run(streams.generate([0], sampling=seeded(1)))
    asyncio.run(streams.close())
    with pytest.raises(RuntimeError, match="shutdown"):
        streams._engine.submit(print)


def test_what_cannot_be_is_refused():
    inner = session()
    with pytest.raises(InputError, match="SpeculativeSession, got"):
        AsyncSession("session")
    for ahead in (0, 1.5, True):
        with pytest.raises(InputError, match="ahead >= 1"):
            AsyncSession(inner, ahead=ahead)

    async def main():
        async with AsyncSession(inner) as streams:
            with pytest.raises(InputError, match="at least one token"):
                await text_of(streams, [])
            with pytest.raises(InputError, match="n = 1"):
                await text_of(streams, [0], sampling=SamplingParams(n=2))
            assert streams.active == 0 and not await others()

    asyncio.run(main())
    assert left_behind(inner) == NOTHING


def test_ten_thousand_requests_leave_memory_flat():
    row = np.zeros(TARGET.size, np.float32)

    class Model(TableModel):
        def __call__(self, feeds):
            self.texts.update((feed.request, ()) for feed in feeds)
            return np.tile(row, (sum(feed.rows for feed in feeds), 1))

    inner = SpeculativeSession(Model(TARGET, 1), Model(DRAFTER, 2), bridge="tli", draft_length=1)

    async def some(streams, count):
        for begin in range(0, count, 100):
            calls = [
                streams.generate([0], sampling=seeded(begin + i, max_tokens=2, logprobs=1))
                for i in range(98)
            ]
            cut = streams.stream([0], sampling=seeded(begin, max_tokens=50))
            await asyncio.gather(*calls, anext(cut))
            await cut.aclose()
            failing = streams.generate([0], logits_processor=lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await failing

    async def main():
        async with AsyncSession(inner) as streams:
            await some(streams, 1000)
            gc.collect()
            tracemalloc.start()
            before, resident = tracemalloc.get_traced_memory()[0], rss()
            await some(streams, 10000)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
            assert grown < 200_000  # a request kept would be a few hundred bytes: 2 MB and more
            assert rss() - resident < 24 << 20
            assert not await others()

    asyncio.run(main())
    assert left_behind(inner) == NOTHING


def rss():
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
