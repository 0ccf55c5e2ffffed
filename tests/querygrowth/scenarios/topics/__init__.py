"""The pairs of all topics. A topic is a module here with a tuple `PAIRS`; it is found by itself."""

from importlib import import_module
from pkgutil import iter_modules

from scenarios.pair import Pair

TOPICS: dict[str, tuple[Pair, ...]] = {
    found.name: import_module(f"{__name__}.{found.name}").PAIRS for found in iter_modules(__path__)
}
PAIRS = tuple(pair for pairs in TOPICS.values() for pair in pairs)
