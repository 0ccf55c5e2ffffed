"""`harness cache`: list or clear the large runs that are kept."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from harness.cache import CachedRun, cached_runs, clear_cache, default_cache
from harness.commands.printing import output_console

_MEBIBYTE = 2**20

CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", metavar="DIR", help="The cache; $XDG_CACHE_HOME has it otherwise."),
]

cache = typer.Typer(help="List or clear the large runs that are kept.", no_args_is_help=True)


@cache.command("list")
def list_runs(cache_folder: CacheOption = None) -> None:
    """List the runs, most recently used first."""
    folder = cache_folder or default_cache()
    runs = cached_runs(folder)
    total = sum(each.size_bytes for each in runs)
    summary = f"{len(runs)} kept, {total / _MEBIBYTE:,.1f} MiB in {folder}"
    for line in (*(_lines(runs) if runs else ()), summary):
        output_console().print(line, soft_wrap=True, markup=False)


@cache.command("clear")
def clear(cache_folder: CacheOption = None) -> None:
    """Remove them all, but for any that is being written just now."""
    folder = cache_folder or default_cache()
    freed = clear_cache(folder)
    summary = f"freed {freed / _MEBIBYTE:,.1f} MiB in {folder}"
    output_console().print(summary, soft_wrap=True, markup=False)


def _lines(runs: Sequence[CachedRun]) -> Iterator[str]:
    yield f"{'last used':25}  {'records':>12}  {'MiB':>9}  run"
    for each in runs:
        used = datetime.fromtimestamp(each.used_at).astimezone().isoformat(" ", "seconds")
        size = each.size_bytes / _MEBIBYTE
        yield f"{used:25}  {each.records:12,}  {size:9,.1f}  {each.spec!r}"
