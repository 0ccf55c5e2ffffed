"""Strict YAML: less than `yaml.safe_load` reads.

No anchors and aliases (a small file could unfold into gigabytes), no tags, no repeated keys, no
deep nesting, no numbers of thousands of digits, at most 1 MiB.
"""

from collections.abc import Hashable
from os import PathLike
from pathlib import Path
from typing import Protocol

import yaml

MAX_BYTES = 2**20
# PyYAML and pydantic read nested values by recursion; this is far below Python's recursion limit.
MAX_DEPTH = 32

# Python reads a longer integer by default, but refuses to print it; PyYAML reads one in base 60 in
# quadratic time.
MAX_NUMBER_LENGTH = 4_000


class StrictYamlError(ValueError):
    """A file that is not strict YAML: one line with the file and, where known, the position."""


def read_yaml(path: str | PathLike[str]) -> object:
    """Return the one document of a YAML file; None for an empty file.

    Raises:
        StrictYamlError: the file cannot be read, is too large, or is not strict YAML.
    """
    content = _read_bounded(path)
    try:
        _refuse_hazards(content)
        # The loader derives from SafeLoader and is stricter.
        return yaml.load(content, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        position = _position(error.problem_mark or error.context_mark)
        raise StrictYamlError(f"{path}: {position}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError: refused here, a date such as 2026-13-01, an integer of thousands of digits.
        # OverflowError: an escape beyond Unicode, a number in base 60 that no float can hold.
        raise StrictYamlError(f"{path}: {' '.join(str(error).split())}") from error


def _read_bounded(path: str | PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except TimeoutError:  # a caller's limit of time, or that of a network
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StrictYamlError(f"{path}: cannot be read: {reason}") from error
    if len(content) > MAX_BYTES:
        raise StrictYamlError(f"{path}: larger than the {MAX_BYTES} bytes allowed")
    return content


def _refuse_hazards(content: bytes) -> None:
    """Refuse anchors, aliases, tags and deep nesting."""
    # By the events of the parser, because aliases and tags take effect while the loader builds.
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        position = _position(event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"{position}anchors and aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"{position}tags are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"{position}nested more than {MAX_DEPTH} levels deep")


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses repeated keys and numbers too long to print."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        _refuse_long_number(node)
        number = super().construct_yaml_int(node)
        # A hexadecimal integer has more decimal digits than it has characters, and str() raises
        # ValueError beyond 4,300: later, in the middle of a message.
        str(number)
        return number

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        _refuse_long_number(node)
        return super().construct_yaml_float(node)

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        # PyYAML lets the last of two equal keys win, so a second `sign: false` would be obeyed.
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise ValueError(f"{_position(key_node.start_mark)}key {key!r} is given twice")
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.construct_yaml_float)


def _refuse_long_number(node: yaml.ScalarNode) -> None:
    if len(node.value) > MAX_NUMBER_LENGTH:
        raise ValueError(
            f"{_position(node.start_mark)}a number of more than {MAX_NUMBER_LENGTH:,} characters"
        )


class _Mark(Protocol):
    """A position in a file, counted from 0 by PyYAML."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


def _position(mark: _Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
