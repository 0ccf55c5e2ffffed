"""Strict YAML: a configuration file read as plain values, refusing what could mislead or swell.

Less is allowed than by `yaml.safe_load`: no anchors and aliases (a small file could unfold into
gigabytes), no tags, no key given twice, no deep nesting, no more than 1 MiB.
"""

from collections.abc import Hashable
from os import PathLike
from pathlib import Path
from typing import Protocol

import yaml

MAX_BYTES = 2**20
MAX_DEPTH = 32


class StrictYamlError(ValueError):
    """A file that is not strict YAML; one line naming the file and, where known, the place."""


def read_yaml(path: str | PathLike[str]) -> object:
    """Read a file that holds one YAML document; an empty one gives None.

    Raises:
        StrictYamlError: the file cannot be read, is too large, or is not strict YAML.
    """
    content = _read_bounded(path)
    try:
        _refuse_hazards(content)
        # The loader is the safe one, and stricter.
        return yaml.load(content, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark or error.context_mark)
        raise StrictYamlError(f"{path}: {place}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError: refused here, a date such as 2026-13-01, an integer of thousands of digits.
        # OverflowError: an escape beyond Unicode, a number in base 60 that no float can hold.
        raise StrictYamlError(f"{path}: {' '.join(str(error).split())}") from error


def _read_bounded(path: str | PathLike[str]) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StrictYamlError(f"{path}: cannot be read: {reason}") from error
    if len(content) > MAX_BYTES:
        raise StrictYamlError(f"{path}: larger than the {MAX_BYTES} bytes allowed")
    return content


def _refuse_hazards(content: bytes) -> None:
    """Look through the document without building anything of it."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.SafeLoader):
        place = _place(event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"{place}anchors and aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"{place}tags are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"{place}nested more than {MAX_DEPTH} levels deep")


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which would let the last of two equal keys win.

    It would also read hexadecimal integers of any length, which no message could then show.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        number = super().construct_yaml_int(node)
        str(number)  # Python's own bound on decimal digits, whatever base it was written in.
        return number

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, object]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise ValueError(f"{_place(key_node.start_mark)}key {key!r} is given twice")
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


class _Mark(Protocol):
    """A position as PyYAML counts: from 0."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


def _place(mark: _Mark | None) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
