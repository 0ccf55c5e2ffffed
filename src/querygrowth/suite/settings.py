"""Read and check `[tool.querygrowth]` of pyproject.toml."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from querygrowth.suite.rules import RULES, Level

_FILE = "pyproject.toml"
_BASELINE = "queries-baseline.json"


class SettingsError(ValueError):
    """A setting that cannot be used. The message is one line: where, what, and what to write."""


@dataclass(frozen=True)
class Ignore:
    """Findings at one place that a project has accepted.

    Attributes:
        place: The file, as `path` or `path::function`, relative to the root; `*` fits any text.
        reason: Why they are accepted.
        rule: The rule; empty for all rules.
        about: The relationship, attribute or table; empty for all.
        expires: The last day on which it holds; None for no end.
    """

    place: str
    reason: str
    rule: str = ""
    about: str = ""
    expires: date | None = None

    def __str__(self) -> str:
        about = f" ({self.about})" if self.about else ""
        return f"{self.place}{about}: {self.reason}"


@dataclass(frozen=True)
class Settings:
    """The settings of the suite report.

    Attributes:
        levels: The level of each rule, by the rule's name.
        thresholds: The threshold of each rule, by the rule's name.
        test_code: The level that findings in test code have at most.
        baseline: The file of accepted findings.
        baseline_is_named: Whether the settings name that file, so that it has to exist.
        ignores: The places that are left out.
    """

    levels: Mapping[str, Level]
    thresholds: Mapping[str, int]
    baseline: Path
    test_code: Level = Level.REPORT
    baseline_is_named: bool = False
    ignores: tuple[Ignore, ...] = field(default=())

    def level(self, rule: str, *, in_test_code: bool) -> Level:
        """The level of a finding."""
        order = list(Level)
        level = self.levels[rule]
        return min(level, self.test_code, key=order.index) if in_test_code else level


def read_settings(root: Path, level: str | None = None) -> Settings:
    """Read the settings of a project.

    Args:
        root: The folder of pyproject.toml. Without that file, the settings are the defaults.
        level: The level of the command line, for all rules that are not off.

    Raises:
        SettingsError: A key or a value is wrong.
    """
    table = _table(root / _FILE)
    _check_keys(
        table, ("level", "rules", "test-code", "baseline", "ignore"), where="[tool.querygrowth]"
    )
    general = _level(table.get("level", "report"), "level")
    levels = {rule.name: Level.OFF if rule.opt_in else general for rule in RULES.values()}
    thresholds = {rule.name: rule.threshold for rule in RULES.values()}
    rules = table.get("rules", {})
    if not isinstance(rules, dict):
        raise _wrong("rules", "a table of rules and levels", rules)
    _check_keys(rules, RULES, where="[tool.querygrowth.rules]")
    for name, value in rules.items():
        where = f"rules.{name}"
        given = value if isinstance(value, dict) else {"level": value}
        _check_keys(given, ("level", "threshold"), where=f"[tool.querygrowth.{where}]")
        opted = Level.REPORT if RULES[name].opt_in else general
        levels[name] = _level(given.get("level", str(opted)), where)
        if RULES[name].at_end and levels[name] not in (Level.OFF, Level.REPORT):
            raise _wrong(
                where,
                "off or report, because only the end of the run can tell",
                str(levels[name]),
            )
        threshold = given.get("threshold", thresholds[name])
        least = 1 if RULES[name].opt_in else 2
        if not _is_number(threshold) or threshold < least:
            raise _wrong(f"{where}.threshold", f"a whole number from {least} on", threshold)
        thresholds[name] = threshold
    if level is not None:
        levels = {
            name: at if at is Level.OFF or RULES[name].at_end else Level(level)
            for name, at in levels.items()
        }
    baseline = table.get("baseline", _BASELINE)
    if not isinstance(baseline, str) or not baseline:
        raise _wrong("baseline", "the path of a file", baseline)
    ignores = table.get("ignore", [])
    if not isinstance(ignores, list) or not all(isinstance(each, dict) for each in ignores):
        raise SettingsError(f"{_FILE}: write ignores as [[tool.querygrowth.ignore]] tables")
    return Settings(
        levels=levels,
        thresholds=thresholds,
        test_code=_level(table.get("test-code", "report"), "test-code"),
        baseline=root / baseline,
        baseline_is_named="baseline" in table,
        ignores=tuple(_ignore(each, number) for number, each in enumerate(ignores, 1)),
    )


def with_report_level(settings: Settings) -> Settings:
    """The same where no finding warns or fails a test, as while a baseline is written."""
    order = list(Level)
    lowered = {
        name: min(level, Level.REPORT, key=order.index) for name, level in settings.levels.items()
    }
    return replace(settings, levels=lowered)


def _table(path: Path) -> dict[str, Any]:
    """The table `[tool.querygrowth]`; empty if there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {path}: {error}") from None
    if "querygrowth" not in text:
        return {}
    # pytest needs tomli where Python has no parser for TOML.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        tools = tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is no TOML file: {error}") from None
    table = tools.get("querygrowth", {})
    if not isinstance(table, dict):
        raise SettingsError(f"{_FILE}: [tool.querygrowth] must be a table")
    return table


def _check_keys(table: Mapping[str, object], known: Iterable[str], *, where: str) -> None:
    names = list(known)
    for key in table:
        if key not in names:
            near = get_close_matches(str(key), names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
            raise SettingsError(f"{_FILE}: {where} has no setting {key!r}; {hint}")


def _level(value: object, where: str) -> Level:
    levels = [str(level) for level in Level]
    if value not in levels:
        raise _wrong(where, f"one of {', '.join(levels)}", value)
    return Level(value)


def _ignore(table: Mapping[str, object], number: int) -> Ignore:
    where = f"ignore {number}"
    _check_keys(
        table, ("place", "reason", "rule", "about", "expires"), where=f"[tool.querygrowth] {where}"
    )
    texts = {}
    for name in ("place", "reason", "rule", "about"):
        value = table.get(name, "")
        if not isinstance(value, str) or (name in ("place", "reason") and not value.strip()):
            raise _wrong(f"{where}: {name}", "a text", value)
        texts[name] = value
    if texts["rule"]:
        _check_keys({texts["rule"]: 0}, RULES, where=f"{where}: the list of rules")
    expires = table.get("expires")
    if isinstance(expires, str):
        try:
            expires = date.fromisoformat(expires)
        except ValueError:
            raise _wrong(f"{where}: expires", "a date such as 2030-12-31", expires) from None
    if expires is not None and type(expires) is not date:
        raise _wrong(f"{where}: expires", "a date such as 2030-12-31", expires)
    return Ignore(**texts, expires=expires)


def _wrong(where: str, expected: str, given: object) -> SettingsError:
    return SettingsError(f"{_FILE}: [tool.querygrowth] {where} must be {expected}, got {given!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
