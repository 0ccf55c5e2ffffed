"""Depth: how much a check tries. The options --quick and --all choose it."""

from enum import IntEnum


class Depth(IntEnum):
    """How much a check tries. A greater depth includes what a smaller one tries."""

    QUICK = 0
    DEFAULT = 1
    ALL = 2
