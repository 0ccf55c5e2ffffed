"""Tell whether a place in code is run again by a loop around it, from the bytecode.

A statement that is sent three times from the same lines may come from a loop in the application or
from a test that calls the application three times. The stacks of both look the same, but only one
of them has the loop in the application.
"""

import dis
import sys
from functools import lru_cache
from types import CodeType

# `await` waits in a loop too.
_NO_LOOPS = frozenset({"JUMP_BACKWARD_NO_INTERRUPT"})
# Before CPython 3.12, a comprehension is a function whose body is the loop.
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


def is_in_loop(code: CodeType, offset: int) -> bool:
    """Whether an instruction stands in a loop or a comprehension of its function.

    Args:
        code: The code of the function.
        offset: The offset of the instruction in bytes, as `frame.f_lasti` has it.
    """
    if is_comprehension(code):
        return True
    return any(start <= offset < end for start, end in _loops(_Key(code)))


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
def _loops(key: _Key) -> tuple[tuple[int, int], ...]:
    """The loops of a function: offsets of their first instruction and of their jump back."""
    # From 3.12 on, the handlers of exceptions stand behind the code that they return to, and a jump
    # back from there is no loop. In 3.11 they stand in between, and in 3.10 there is no table.
    bytecode = dis.Bytecode(key.code)
    handlers = getattr(bytecode, "exception_entries", ()) if sys.version_info >= (3, 12) else ()
    outside = min((entry.target for entry in handlers), default=sys.maxsize)
    return tuple(
        (instruction.argval, instruction.offset)
        for instruction in bytecode
        if (instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs)
        and instruction.argval < instruction.offset
        and instruction.opname not in _NO_LOOPS
        and not instruction.argval < outside <= instruction.offset
    )
