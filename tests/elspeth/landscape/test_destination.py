"""The settings of a pipeline give an export one path, or are refused with the reason."""

from pathlib import Path

import pytest

from elspeth.core.landscape.pipeline.destination import export_destination
from elspeth.core.settings import ElspethSettings, SettingsError


def settings(**options: object) -> ElspethSettings:
    return ElspethSettings.model_validate(
        {"sinks": {"audit": {"plugin": "json", "options": options}}}
    )


@pytest.mark.parametrize(
    ("path", "export_format", "expected"),
    [
        ("out/audit.jsonl", "json", "out/audit.jsonl"),
        ("out/audit.csv", "csv", "out/audit"),
        ("out/audit.v2.csv", "csv", "out/audit.v2"),
        ("out/audit", "csv", "out/audit"),
    ],
)
def test_the_path_of_the_sink_is_taken(path: str, export_format: str, expected: str) -> None:
    assert export_destination(settings(path=path), "audit", export_format) == Path(expected)


@pytest.mark.parametrize("sink", [None, "", "elsewhere"])
def test_an_unknown_sink_is_refused_and_named(sink: str | None) -> None:
    with pytest.raises(SettingsError, match=f"sink {sink!r} is not among the sinks"):
        export_destination(settings(path="audit.jsonl"), sink, "json")


@pytest.mark.parametrize("options", [{}, {"path": ""}, {"path": None}, {"path": 7}])
def test_a_sink_without_a_path_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="'audit' has no path among its options"):
        export_destination(settings(**options), "audit", "json")


@pytest.mark.parametrize("name", ["audit.json", "audit", "audit.jsonl.gz"])
def test_a_json_export_that_is_not_named_jsonl_is_refused_with_the_name_to_give(name: str) -> None:
    with pytest.raises(SettingsError, match=r"JSON Lines: name it audit(\.jsonl)?\.jsonl$"):
        export_destination(settings(path=name), "audit", "json")
