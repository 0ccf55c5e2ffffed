"""`harness coverage`: how often property tests exercise each shape of a run, and each pair."""

import os
from collections.abc import Iterator
from typing import Annotated

import typer

from elspeth.command import ExitCode
from harness.commands.printing import output_console
from harness.coverage import SUMMARIES, ShapeCoverage, drawn_specs, shape_coverage
from harness.profiles import EXAMPLES, VARIABLE, load_profile
from harness.strategies import run_specs


def coverage(
    profile: Annotated[
        str | None,
        typer.Option(help=f"One of: {', '.join(EXAMPLES)}. Without it: ${VARIABLE}, or dev."),
    ] = None,
) -> int:
    """Draw as many specs as a property test does, and count what they hold: features, and axes.

    Specs that an export has to refuse are not among them. Exit 1 when any shape never occurs.
    """
    name = load_profile({VARIABLE: profile} if profile else os.environ)
    specs = drawn_specs(run_specs(), EXAMPLES[name])
    found = shape_coverage(spec.shapes for spec in specs)
    console = output_console()
    for line in (f"profile {name}", "", *coverage_lines(found)):
        console.print(line, soft_wrap=True, markup=False)
    return ExitCode.NOT_FINE if found.never else ExitCode.FINE


def coverage_lines(found: ShapeCoverage) -> Iterator[str]:
    """Write each shape on a line, then each pair in a matrix by the shapes' numbers, then a sum."""
    name_width = max(map(len, found.shapes))
    yield f" no  {'shape':{name_width}}  runs  what it is"
    for number, (name, runs) in enumerate(found.shapes.items(), start=1):
        yield f"{number:3}  {name:{name_width}}  {runs:4}  {SUMMARIES[name]}"
    yield ""
    yield "Runs that hold both; - where one hides the other:"
    yield from _matrix(found)
    yield ""
    yield str(found)
    yield from (f"never: {name}" for name in found.never)


def _matrix(found: ShapeCoverage) -> Iterator[str]:
    names = list(found.shapes)
    width = 1 + max(len(str(number)) for number in (len(names), *found.pairs.values()))
    yield "   " + "".join(f"{number:{width}}" for number in range(1, len(names)))
    for place, name in enumerate(names[1:], start=1):
        runs = (found.pairs.get(frozenset((name, other)), "-") for other in names[:place])
        yield f"{place + 1:3}" + "".join(f"{count:>{width}}" for count in runs)
