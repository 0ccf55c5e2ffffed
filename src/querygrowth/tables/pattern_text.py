"""Texts that match a regular expression, for columns whose CHECK has one."""

import re
import sys
from collections.abc import Iterator
from typing import Any

if sys.version_info >= (3, 11):
    from re import _constants as constants  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_constants as constants
    import sre_parse as parser

_CATEGORIES = {
    "CATEGORY_DIGIT": "1",
    "CATEGORY_WORD": "a",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": "a",
    "CATEGORY_NOT_WORD": "-",
    "CATEGORY_NOT_SPACE": "a",
}
_TRIED = "aA1 -_.@/bB2xyz0"
# POSIX classes, which PostgreSQL knows and Python does not.
_POSIX = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "a-zA-Z0-9", "lower": "a-z", "upper": "A-Z"}


def text_matching(pattern: str, variants: int = 3) -> Iterator[str]:
    """Short texts that match a regular expression; none if it has a part that is not known here.

    Args:
        pattern: The expression, in Python's or PostgreSQL's syntax.
        variants: How often to repeat what may repeat: 1 to this number.
    """
    for name, characters in _POSIX.items():
        pattern = pattern.replace(f"[:{name}:]", characters)
    try:
        tree = parser.parse(pattern)
        for more in range(variants):
            text = _text(tree, more)
            if re.search(pattern, text):
                yield text
    except (re.error, LookupError, NotImplementedError, OverflowError):
        return


def _text(tree: Any, more: int) -> str:
    return "".join(_part(code, argument, more) for code, argument in tree)


def _part(code: Any, argument: Any, more: int) -> str:
    if code is constants.LITERAL:
        return chr(argument)
    if code is constants.NOT_LITERAL:
        return next(each for each in _TRIED if ord(each) != argument)
    if code is constants.ANY:
        return "a"
    if code is constants.IN:
        return _one_of(argument)
    if code is constants.AT:
        return ""
    if code is constants.BRANCH:
        return _text(argument[1][more % len(argument[1])], more)
    if code is constants.SUBPATTERN:
        return _text(argument[-1], more)
    if code in (constants.MAX_REPEAT, constants.MIN_REPEAT):
        least, most, inner = argument
        return _text(inner, more) * min(int(most), max(int(least), more))
    raise NotImplementedError(str(code))


def _one_of(members: Any) -> str:
    if members[0][0] is constants.NEGATE:
        return next(each for each in _TRIED if not _is_among(each, members[1:]))
    code, argument = members[0]
    if code is constants.LITERAL:
        return chr(argument)
    if code is constants.RANGE:
        return chr(argument[0])
    return _CATEGORIES[str(argument)]


def _is_among(character: str, members: Any) -> bool:
    for code, argument in members:
        if code is constants.LITERAL and ord(character) == argument:
            return True
        if code is constants.RANGE and argument[0] <= ord(character) <= argument[1]:
            return True
        if code is constants.CATEGORY and re.match(_CLASSES[str(argument)], character):
            return True
    return False


_CLASSES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_NOT_WORD": r"\W",
    "CATEGORY_NOT_SPACE": r"\S",
}
