"""Bytecode tells code in a loop from code that is not, in each version of CPython."""

import asyncio
import itertools
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext, suppress
from types import CodeType

from querygrowth.suite.loops import is_in_loop, is_in_while


def _here(depth: int = 1) -> bool:
    frame = sys._getframe(depth)
    return is_in_loop(frame.f_code, frame.f_lasti)


def test_loops_and_comprehensions_are_loops() -> None:
    found = []
    for _ in range(2):
        found.append(_here())
    for _ in range(2):
        with nullcontext():
            found.append(_here())
    for _ in range(2):
        try:
            found.append(_here())
        except ValueError:
            continue
    turns = 0
    while turns < 2:
        turns += 1
        found.append(_here())
    while True:
        found.append(_here())
        turns += 1
        if turns > 3:
            break
    found += [_here() for _ in range(2)]
    found += list({n: _here() for n in range(2)}.values())
    found += list(_here() for _ in range(2))  # noqa: C400  # a generator expression
    assert found == [True] * len(found)


def test_code_around_loops_and_handlers_is_in_no_loop() -> None:
    found = [_here()]
    for _ in [_here()]:
        pass
    for each in (found.append(_here()) for _ in ()):
        assert each is None
    try:
        found.append(_here())
    except ValueError:
        found.append(True)
    with suppress(ValueError), nullcontext():
        found.append(_here())
    try:
        found.append(_here())
    finally:
        found.append(_here())
    with suppress(ValueError):
        raise ValueError
    found.append(_here())
    assert found == [False] * len(found)


def _failing_once() -> Iterator[bool]:
    yield from (False, True)


def _tried_again(answers: Iterator[bool], found: list[bool]) -> bool:
    while True:
        try:
            found.append(_here())
            if not next(answers):
                raise ValueError
            return True
        except ValueError:
            continue


def _tried_three_times(answers: Iterator[bool], found: list[bool]) -> bool:
    for attempt in range(3):
        try:
            with nullcontext():
                found.append(_here())
                for _ in range(2):
                    found.append(not _here())
                if next(answers):
                    break
                raise KeyError
        except (KeyError, ValueError):
            if attempt == 2:
                raise
        finally:
            found.append(False)
    return True


def test_a_loop_that_tries_one_thing_again_is_no_loop() -> None:
    found: list[bool] = []
    assert _tried_again(_failing_once(), found)
    assert _tried_three_times(_failing_once(), found)
    assert found == [False] * 10


def test_a_loop_that_waits_for_one_thing_is_no_loop() -> None:
    found: list[bool] = []
    while True:
        found.append(_here())
        time.sleep(0)
        if len(found) > 1:
            break
    while len(found) < 4:
        time.sleep(0)
        found.append(_here())
    for _ in range(9):
        found.append(_here())
        if len(found) > 5:
            break
        threading.Event().wait(0)
    for _ in itertools.count():
        if _here():
            found.append(True)
        if len(found) > 5:
            break
        time.sleep(0)

    async def run() -> None:
        while len(found) < 8:
            found.append(_here())
            await asyncio.sleep(0)

    asyncio.run(run())
    assert found == [False] * 8


def test_a_loop_whose_variable_is_entered_is_no_loop() -> None:
    found: list[bool] = []

    async def attempts() -> AsyncIterator[nullcontext[None]]:
        for _ in range(2):
            yield nullcontext()

    async def run() -> None:
        async for attempt in attempts():
            with attempt:
                found.append(_here())

    for attempt in (nullcontext(), nullcontext()):
        with attempt:
            found.append(_here())
    asyncio.run(run())
    assert found == [False] * 4


def test_a_loop_over_items_that_pauses_is_a_loop() -> None:
    found: list[bool] = []
    for _ in ("a", "b"):
        found.append(_here())
        time.sleep(0)
    for _ in range(2):
        for _ in range(1):
            time.sleep(0)
            found.append(not _here())  # the loop around it waits as well
    for _ in range(2):
        with nullcontext(found):
            found.append(_here())
    assert found == [True] * 6


def test_a_loop_that_goes_on_after_an_error_is_a_loop() -> None:
    found = []
    for turn in range(3):
        try:
            found.append(_here())
            if turn == 1:
                raise ValueError
        except ValueError:
            continue
    for turn in range(3):
        found.append(_here())
        if turn == 1:
            break
    assert found == [True] * 5


def test_waiting_is_no_loop() -> None:
    async def below() -> bool:
        await asyncio.sleep(0)
        return _here(2)

    async def run() -> tuple[list[bool], list[bool]]:
        outside = [await below()]
        async with asyncio.Lock():
            outside.append(await below())
        inside = [await below() for _ in range(2)]
        for _ in range(2):
            inside.append(await below())
        outside.append(await below())
        return outside, inside

    outside, inside = asyncio.run(run())
    assert (set(outside), set(inside)) == ({False}, {True})


def test_equal_code_of_two_places_is_told_apart() -> None:
    codes: list[CodeType] = [compile("for x in y: f()", "one.py", "exec") for _ in range(2)]
    assert codes[0] == codes[1]
    last = len(codes[0].co_code) - 2
    assert [is_in_loop(code, 0) for code in codes] == [False, False]
    assert [is_in_loop(code, last // 2) for code in codes] == [True, True]


def test_while_loops_are_told_from_loops_over_items() -> None:
    def here() -> bool:
        frame = sys._getframe(1)
        return is_in_while(frame.f_code, frame.f_lasti)

    whiles, others = [], [here()]
    turns = 0
    while turns < 2:
        turns += 1
        whiles.append(here())
        for _ in [1]:
            others.append(here())  # a comprehension is another loop
    while True:
        whiles.append(here())
        break_now = turns > 2
        turns += 1
        if break_now:
            break
    for _ in [1]:
        while turns < 5:
            turns += 1
            others.append(here())
    others += [here() for _ in [1]]

    async def waits() -> None:
        while len(whiles) < 6:
            whiles.append(here())

        async def items() -> AsyncIterator[int]:
            yield 1

        async for _ in items():
            others.append(here())

    asyncio.run(waits())
    assert whiles == [True] * len(whiles)
    assert others == [False] * len(others)
