"""Targets: the agreed numbers, and the verdict on each for what was measured."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from harness import packaged
from querygrowth.verdict import Outcome, Verdict, judge

DEFAULT_TARGETS = packaged.TARGETS


class TargetsError(ValueError):
    """The file of targets is missing or cannot be used."""


class Target(BaseModel):
    """One agreed number: what it is about, its bound, and the size of run it is judged at."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    metric: str
    unit: str = ""
    exactly: bool | float | None = None
    at_least: float | None = None
    at_most: float | None = None
    rows: int | None = None
    from_rows: int | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if sum(each is not None for each in (self.exactly, self.at_least, self.at_most)) != 1:
            raise ValueError("a target has exactly one of: exactly, at_least, at_most")
        if self.rows is not None and self.from_rows is not None:
            raise ValueError("a target is judged at rows or from_rows, not both")
        return self

    @property
    def bound(self) -> str:
        """The number to reach, in words."""
        if self.exactly is not None:
            return self.show(self.exactly)
        if self.at_least is not None:
            return f"at least {self.show(self.at_least)}"
        return f"at most {self.show(self.at_most or 0)}"

    @property
    def size(self) -> str:
        """The size it is judged at, in words."""
        if self.rows is not None:
            return f"{self.rows:,} rows"
        return "any size" if self.from_rows is None else f"{self.from_rows:,} rows or more"

    def show(self, value: float) -> str:
        """A value of this metric with its unit."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        digits = 0 if float(value).is_integer() or abs(value) >= 100 else 1
        return f"{value:,.{digits}f}{' ' if self.unit not in ('', 'x') else ''}{self.unit}"

    def is_judged_at(self, rows: int) -> bool:
        """Whether a run of this size decides the target."""
        if self.rows is not None:
            return rows == self.rows
        return self.from_rows is None or rows >= self.from_rows

    def is_met_by(self, value: float) -> bool:
        """Whether a measured value reaches the number."""
        if self.exactly is not None:
            return value == self.exactly
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


def load_targets(path: Path) -> tuple[Target, ...]:
    """Read the targets of a TOML file.

    Raises TargetsError, naming file and key, when there are none or one cannot be understood.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TargetsError(f"no targets in {path}: {reason}") from error
    unknown = sorted(content.keys() - {"target"})
    if unknown:
        raise TargetsError(f"{path}: unknown key {unknown[0]!r}")
    entries = content.get("target")
    if not isinstance(entries, list) or not entries:
        raise TargetsError(f"{path} holds no [[target]]")
    return tuple(_read_target(path, number, entry) for number, entry in enumerate(entries, 1))


def judge_targets(
    targets: tuple[Target, ...], measured: Mapping[str, float], *, rows: int
) -> tuple[Verdict, ...]:
    """Judge every target by what was measured, by metric, at a run of `rows` source rows."""
    return tuple(_judge(target, measured.get(target.metric), rows) for target in targets)


def _judge(target: Target, value: float | None, rows: int) -> Verdict:
    title = f"{target.id} {target.title}"
    if value is None or not target.is_judged_at(rows):
        seen = "not measured" if value is None else target.show(value)
        return Verdict(
            subject=title,
            outcome=Outcome.SKIPPED,
            expected=target.bound,
            seen=f"{seen} (judged at {target.size})",
        )
    return judge(
        title,
        target.is_met_by(value),
        expected=target.bound,
        seen=target.show(value),
        next_step=f"requirement {target.id} in docs/design/requirements.md",
    )


def _read_target(path: Path, number: int, entry: object) -> Target:
    try:
        return Target.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "target"
        raise TargetsError(f"{path}: target {number}: {where}: {first['msg']}") from error
