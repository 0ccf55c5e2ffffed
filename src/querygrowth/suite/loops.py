"""Tell whether a place in code is run for many items by a loop around it, from the bytecode.

A statement that is sent three times from the same lines may come from a loop in the application or
from a test that calls the application three times. The stacks of both look the same, but only one
of them has the loop in the application.
"""

import dis
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType

# `await` waits in a loop too.
_NO_LOOPS = frozenset({"JUMP_BACKWARD_NO_INTERRUPT"})
# Where the code goes on elsewhere, or leaves the function.
_JUMPS = frozenset(("JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT", "JUMP_FORWARD"))
_ENDS = frozenset(("RAISE_VARARGS", "RERAISE", "RETURN_CONST", "RETURN_VALUE"))
# In CPython 3.10, these name the handler of an exception as if they jumped there.
_HANDLERS = frozenset(("SETUP_ASYNC_WITH", "SETUP_FINALLY", "SETUP_WITH"))
# Before CPython 3.12, a comprehension is a function whose body is the loop.
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
_ITERATES = frozenset({"FOR_ITER", "GET_ANEXT", "SEND"})
_COUNTS = frozenset({"range", "count"})
_WAITS = re.compile(r"sleep|^wait(_for)?$", re.IGNORECASE)
_ENTERS = frozenset(
    {"BEFORE_WITH", "BEFORE_ASYNC_WITH", "SETUP_WITH", "SETUP_ASYNC_WITH", "LOAD_SPECIAL"}
)


def is_in_loop(code: CodeType, offset: int) -> bool:
    """Whether an instruction stands in a loop over items, or a comprehension, of its function.

    A loop that tries one thing again is none: one that goes round after an exception only, one that
    sleeps until something has changed, and one that enters its variable, as in `with attempt:`.

    Args:
        code: The code of the function.
        offset: The offset of the instruction in bytes, as `frame.f_lasti` has it.
    """
    if is_comprehension(code):
        return True
    key = _Key(code)
    ends = {end for start, end in _loops(key) if start <= offset < end}
    return bool(ends) and not ends.isdisjoint(_reached_from(key, offset))


def is_in_while(code: CodeType, offset: int) -> bool:
    """Whether all loops around an instruction are `while` loops, of which there is at least one.

    Args:
        code: The code of the function.
        offset: The offset of the instruction in bytes, as `frame.f_lasti` has it.
    """
    if is_comprehension(code):
        return False
    instructions = list(dis.Bytecode(code))
    around = [(start, end) for start, end in _loops(_Key(code)) if start <= offset < end]
    return bool(around) and not any(
        _iterates([each for each in instructions if start <= each.offset < end])
        for start, end in around
    )


def is_comprehension(code: CodeType) -> bool:
    """Whether code is that of a comprehension or a generator expression."""
    return code.co_name in _COMPREHENSIONS


class _Key:
    """A code object by its identity. Equal code may stand in several files, and hashing is slow."""

    __slots__ = ("code",)

    def __init__(self, code: CodeType) -> None:
        self.code = code

    def __hash__(self) -> int:
        return id(self.code)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.code is self.code


@lru_cache(maxsize=1024)
def _reached_from(key: _Key, offset: int) -> frozenset[int]:
    """The offsets of the instructions that may follow an instruction, without any exception."""
    follows: dict[int, list[int]] = {}
    last: dis.Instruction | None = None
    begin = 0  # while a function is called, the offset may be that of a cache behind the call
    for each in dis.Bytecode(key.code):
        if each.offset <= offset:
            begin = each.offset
        if last is not None and last.opname not in _JUMPS | _ENDS:
            follows.setdefault(last.offset, []).append(each.offset)
        if _is_jump(each) and each.opname not in _HANDLERS:
            follows.setdefault(each.offset, []).append(each.argval)
        last = each
    reached: set[int] = set()
    waiting = [begin]
    while waiting:
        for following in follows.get(waiting.pop(), ()):
            if following not in reached:
                reached.add(following)
                waiting.append(following)
    return frozenset(reached)


def _is_jump(instruction: dis.Instruction) -> bool:
    return instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs


@lru_cache(maxsize=1024)
def _loops(key: _Key) -> tuple[tuple[int, int], ...]:
    """The loops of a function: offsets of their first instruction and of their jump back."""
    # From 3.12 on, the handlers of exceptions stand behind the code that they return to, and a jump
    # back from there is no loop. In 3.11 they stand in between, and in 3.10 there is no table.
    bytecode = dis.Bytecode(key.code)
    handlers = getattr(bytecode, "exception_entries", ()) if sys.version_info >= (3, 12) else ()
    outside = min((entry.target for entry in handlers), default=sys.maxsize)
    instructions = list(bytecode)
    ranges = [
        (instruction.argval, instruction.offset)
        for instruction in instructions
        if _is_jump(instruction)
        and instruction.argval < instruction.offset
        and instruction.opname not in _NO_LOOPS
        and not instruction.argval < outside <= instruction.offset
    ]
    again = {start for start, end in ranges if _tries_again(instructions, start, end)}
    return tuple(each for each in ranges if each[0] not in again)


def _tries_again(instructions: Sequence[dis.Instruction], start: int, end: int) -> bool:
    """Whether a loop tries one thing again, which its instructions show."""
    before = [each for each in instructions if each.offset < start]
    inside = [each for each in instructions if start <= each.offset < end]
    if _iterates(inside) and not _counts(before):
        return _enters_its_variable(inside)
    return any(
        each.opname.startswith("LOAD_") and _WAITS.search(str(each.argval)) for each in inside
    )


def _iterates(inside: Sequence[dis.Instruction]) -> bool:
    """Whether a loop is a `for` loop."""
    # In CPython 3.10, `async for` begins with the handler of its end.
    return any(each.opname in _ITERATES for each in inside[:2])


def _counts(before: Sequence[dis.Instruction]) -> bool:
    """Whether a loop goes over the numbers of `range` or `count`."""
    for each in reversed(before):
        if each.opname.startswith(("STORE_", "POP_")):
            break
        if each.argval in _COUNTS:
            return True
    return False


def _enters_its_variable(inside: Sequence[dis.Instruction]) -> bool:
    """Whether the first statement of a loop is a `with` of the variable of the loop."""
    stores = (n for n, each in enumerate(inside) if each.opname.startswith("STORE_"))
    first = next(stores, len(inside))
    if len(inside) < first + 3:
        return False
    stored, loaded, entered = inside[first : first + 3]
    return stored.argval == loaded.argval and entered.opname in _ENTERS
