"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

CandidateOption = Annotated[
    str, typer.Option("--candidate", metavar="MODULE:ATTRIBUTE", help="The exporter on trial.")
]
SrcOption = Annotated[
    Path | None,
    typer.Option("--src", help="Import the candidate from this directory, in its own process."),
]
PythonOption = Annotated[
    str | None,
    typer.Option("--python", help="Run the candidate with this interpreter, in its own process."),
]
OutputOption = Annotated[
    Path, typer.Option("--output", help="The folder that results and reports are written into.")
]
