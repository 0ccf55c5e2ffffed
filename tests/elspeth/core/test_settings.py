"""Settings: defaults, cross-checks, the file, the environment, and refusals on one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from elspeth.core.settings import (
    ElspethSettings,
    LandscapeExportSettings,
    LandscapeSettings,
    SettingsError,
    export_destination,
    load_settings,
)

WriteFile = Callable[[str], Path]

EXAMPLE = """\
datasource: {plugin: csv}
landscape:
  url: sqlite:///audit.db
  export:
    enabled: true
    sink: Audit
    format: json
    sign: false
sinks:
  Audit:
    plugin: json
    on_error: discard
    options:
      path: audit.jsonl
      schema: {fields: dynamic}
"""


@pytest.fixture
def written(tmp_path: Path) -> WriteFile:
    def write(text: str) -> Path:
        path = tmp_path / "settings.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def load(path: Path, **environ: str) -> ElspethSettings:
    return load_settings(path, environ=environ)


def test_the_defaults_store_to_a_local_sqlite_file_and_export_nothing() -> None:
    assert LandscapeSettings().model_dump() == {
        "enabled": True,
        "backend": "sqlite",
        "url": "sqlite:///./runs/audit.db",
        "export": {
            "enabled": False,
            "sink": None,
            "format": "csv",
            "compress": None,
            "sign": False,
            "leave_out": (),
        },
    }
    assert ElspethSettings().sinks == {}


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        LandscapeExportSettings().sign = True


def test_unknown_keys_are_ignored_by_the_models() -> None:
    settings = ElspethSettings.model_validate(
        {"signing_key": "k", "landscape": {"retention": 1, "export": {"sgin": True}}}
    )

    assert settings == ElspethSettings()


def test_an_enabled_export_needs_a_sink() -> None:
    with pytest.raises(
        ValidationError, match=r"landscape\.export\.sink is required when export is enabled"
    ):
        ElspethSettings.model_validate({"landscape": {"export": {"enabled": True}}})


def test_the_export_sink_must_be_among_the_sinks() -> None:
    sinks = {"out": {"plugin": "csv"}, "archive": {"plugin": "json"}}
    export = {"enabled": True, "sink": "audit"}

    with pytest.raises(ValidationError, match=r"'audit' is not among .*available: archive, out"):
        ElspethSettings.model_validate({"landscape": {"export": export}, "sinks": sinks})
    with pytest.raises(ValidationError, match="available: none"):
        ElspethSettings.model_validate({"landscape": {"export": export}})


def test_a_sink_is_not_looked_for_while_export_is_disabled() -> None:
    settings = ElspethSettings.model_validate({"landscape": {"export": {"sink": "audit"}}})

    assert settings.landscape.export.sink == "audit"


def test_a_file_gives_the_landscape_and_the_sinks_and_the_rest_of_it_is_ignored(
    written: WriteFile,
) -> None:
    settings = load(written(EXAMPLE))

    assert settings.landscape.url == "sqlite:///audit.db"
    assert settings.landscape.export == LandscapeExportSettings(
        enabled=True, sink="Audit", format="json", sign=False
    )
    assert settings.sinks["Audit"].plugin == "json"
    assert settings.sinks["Audit"].options == {
        "path": "audit.jsonl",
        "schema": {"fields": "dynamic"},
    }


@pytest.mark.parametrize("text", ["", "---\n", "# nothing but a comment\n", "{}"])
def test_an_empty_file_gives_the_defaults(written: WriteFile, text: str) -> None:
    assert load(written(text)) == ElspethSettings()


def test_environment_variables_override_the_file(written: WriteFile) -> None:
    settings = load(
        written(EXAMPLE),
        ELSPETH_LANDSCAPE__URL="sqlite:///other.db",
        ELSPETH_LANDSCAPE__EXPORT__SIGN="true",
        ELSPETH_LANDSCAPE__EXPORT__FORMAT="csv",
    )

    assert settings.landscape.url == "sqlite:///other.db"
    assert settings.landscape.export.sign is True
    assert settings.landscape.export.format == "csv"
    assert settings.landscape.export.sink == "Audit"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("operations", ("operations",)),
        (" operations , nodes.colour", ("operations", "nodes.colour")),
        ('"a,b",c', ('"a,b"', "c")),
        ("a,", ("a", "")),
    ],
)
def test_names_to_leave_out_may_be_a_list_or_a_text(
    written: WriteFile, text: str, names: tuple[str, ...]
) -> None:
    path = written("landscape: {}")
    by_variable = load(path, ELSPETH_LANDSCAPE__EXPORT__LEAVE_OUT=text)
    assert by_variable.landscape.export.leave_out == names
    in_file = ElspethSettings.model_validate({"landscape": {"export": {"leave_out": list(names)}}})
    assert in_file == by_variable


def test_environment_variables_find_a_key_in_any_spelling_of_the_file(written: WriteFile) -> None:
    settings = load(written(EXAMPLE), ELSPETH_SINKS__AUDIT__OPTIONS__PATH="elsewhere.jsonl")

    assert list(settings.sinks) == ["Audit"]
    assert settings.sinks["Audit"].options["path"] == "elsewhere.jsonl"


@pytest.mark.parametrize("text", ["", "landscape:\n", "landscape: {export: }\n"])
def test_environment_variables_create_missing_sections(written: WriteFile, text: str) -> None:
    settings = load(
        written(text),
        ELSPETH_LANDSCAPE__EXPORT__ENABLED="1",
        ELSPETH_LANDSCAPE__EXPORT__SINK="audit",
        ELSPETH_SINKS__AUDIT__PLUGIN="json",
    )

    assert settings.landscape.export.enabled is True
    assert settings.sinks["audit"].plugin == "json"


def test_the_process_environment_is_used_where_none_is_given(
    written: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELSPETH_LANDSCAPE__URL", "sqlite:///from-process.db")

    assert load_settings(written("")).landscape.url == "sqlite:///from-process.db"


def test_the_signing_key_and_other_variables_never_become_settings(written: WriteFile) -> None:
    settings = load(
        written(EXAMPLE),
        ELSPETH_SIGNING_KEY="canary-of-more-than-32-bytes-in-length",
        ELSPETH_SIGNING_KEY__SINKS="canary",
        LANDSCAPE__URL="canary",
        elspeth_landscape__url="canary",
    )

    assert settings == load(written(EXAMPLE))
    assert "canary" not in settings.model_dump_json()


def refusal(path: Path, **environ: str) -> str:
    with pytest.raises(SettingsError) as refused:
        load(path, **environ)
    message = str(refused.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("landscape: {export: {format: xml}}", "landscape.export.format: Input should be 'csv' or"),
        ("landscape: {backend: oracle}", "landscape.backend: Input should be 'sqlite' or"),
        ("landscape: {export: {sign: perhaps}}", "landscape.export.sign: Input should be a valid"),
        ("landscape: {url: [1]}", "landscape.url: Input should be a valid string"),
        ("landscape: here", "landscape: Input should be a valid dictionary"),
        ("sinks: {out: {options: {}}}", "sinks.out.plugin: Field required"),
        ("sinks: {out: {plugin: csv, options: 1}}", "sinks.out.options: Input should be a valid"),
        ("landscape: {export: {enabled: true}}", "landscape.export.sink is required when export"),
        ("landscape: {export: {sgin: true}}", "landscape.export.sgin is not a setting"),
        ("landscape: {retention: 1}", "has: enabled, backend, url, export"),
        ('landscape: {"a\\n\\e[31mb": 1}', "landscape.a\\n\\x1b[31mb is not a setting"),
        ("- landscape", "expected a mapping"),
        ("landscape", "expected a mapping"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_naming_file_and_key(
    written: WriteFile, text: str, message: str
) -> None:
    path = written(text)

    refused = refusal(path)

    assert refused.startswith(f"{path}: ")
    assert message in refused


def test_every_problem_of_a_file_is_named_at_once(written: WriteFile) -> None:
    refused = refusal(written("landscape: {enabled: 7, export: {format: 1, sign: x}}"))

    for key in ("landscape.enabled: ", "landscape.export.format: ", "landscape.export.sign: "):
        assert key in refused


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("ELSPETH_LANDSCAPE__EXPORT__SGIN", "landscape.export.sgin is not a setting"),
        ("ELSPETH_LANDSCAPE__", "landscape. is not a setting"),
        ("ELSPETH_LANDSCAPE__URL__HOST", "ELSPETH_LANDSCAPE__URL__HOST: url holds a value"),
        ("ELSPETH_LANDSCAPE", "landscape: Input should be a valid dictionary"),
    ],
)
def test_a_variable_that_names_an_unknown_setting_is_refused(
    written: WriteFile, variable: str, message: str
) -> None:
    assert message in refusal(written(EXAMPLE), **{variable: "true"})


def test_messages_and_reprs_hide_the_password_of_a_url(written: WriteFile) -> None:
    path = written("landscape: {url: 'postgresql://me:canary@host/db', backend: canary}")

    with pytest.raises(SettingsError) as refused:
        load(path)

    assert "canary" not in f"{refused.value} {refused.value.__cause__}"
    assert "canary" not in repr(LandscapeSettings(url="postgresql://me:canary@host/db"))


def with_sink(**options: object) -> ElspethSettings:
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
        # Only .csv is dropped: out.v1 and out.v2 are two places.
        ("out/audit.v1", "csv", "out/audit.v1"),
        ("out/audit.v2", "csv", "out/audit.v2"),
        ("out/audit.csv.v2", "csv", "out/audit.csv.v2"),
        ("out/audit.CSV", "csv", "out/audit.CSV"),
        ("out/audit.jsonl", "csv", "out/audit.jsonl"),
        ("out/audit/", "csv", "out/audit"),
        ("out/.audit", "csv", "out/.audit"),
        ("out/audit.", "csv", "out/audit."),
        ("out/audit..csv", "csv", "out/audit."),
        ("out/a%20b.csv", "csv", "out/a%20b"),
        ("../out.csv", "csv", "../out"),
    ],
)
def test_the_path_of_the_sink_is_taken(path: str, export_format: str, expected: str) -> None:
    assert export_destination(with_sink(path=path), "audit", export_format) == Path(expected)


@pytest.mark.parametrize("sink", [None, "", "elsewhere"])
def test_an_unknown_sink_is_refused_and_named(sink: str | None) -> None:
    with pytest.raises(SettingsError, match=f"sink {sink!r} is not among the sinks"):
        export_destination(with_sink(path="audit.jsonl"), sink, "json")


@pytest.mark.parametrize("options", [{}, {"path": ""}, {"path": None}, {"path": 7}])
def test_a_sink_without_a_path_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="'audit' has no path among its options"):
        export_destination(with_sink(**options), "audit", "json")


@pytest.mark.parametrize("name", ["audit.json", "audit", "audit.gz", "audit.jsonl.bz2"])
def test_a_json_export_that_is_not_named_jsonl_is_refused_with_the_name_to_give(name: str) -> None:
    with pytest.raises(SettingsError, match=r"JSON Lines: name it audit(\.jsonl)?\.jsonl$"):
        export_destination(with_sink(path=name), "audit", "json")


@pytest.mark.parametrize(
    ("name", "compress", "advice"),
    [
        ("audit.jsonl.gz", None, r"is not set: name it audit\.jsonl, or set compress"),
        ("audit.jsonl.zst", None, r"is not set: name it audit\.jsonl, or set compress"),
        ("audit.jsonl", "gzip", r"is gzip: name it audit\.jsonl\.gz"),
        ("audit.jsonl.zst", "gzip", r"is gzip: name it audit\.jsonl\.gz"),
        ("audit.jsonl", "zstd", r"is zstd: name it audit\.jsonl\.zst"),
        ("audit.jsonl.gz", "gzip", None),
        ("audit.jsonl.zst", "zstd", None),
    ],
)
def test_the_name_of_a_file_says_its_compression(
    name: str, compress: str | None, advice: str | None
) -> None:
    chosen = ElspethSettings.model_validate(
        {
            "landscape": {"export": {"format": "json", "compress": compress}},
            "sinks": {"audit": {"plugin": "json", "options": {"path": name}}},
        }
    )
    if advice is None:
        assert export_destination(chosen, "audit", "json") == Path(name)
        return
    with pytest.raises(SettingsError, match=f"compress {advice}$"):
        export_destination(chosen, "audit", "json")


@pytest.mark.parametrize("compress", ["bzip2", "GZIP", "", "true", "zst"])
def test_an_unknown_compression_is_refused(compress: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f'landscape: {{export: {{format: json, compress: "{compress}"}}}}')
    with pytest.raises(SettingsError, match=r"landscape\.export\.compress: .*'gzip' or 'zstd'$"):
        load_settings(path, environ={})


def test_csv_files_are_not_compressed() -> None:
    with pytest.raises(ValueError, match="compress is for format json; leave it out"):
        ElspethSettings.model_validate({"landscape": {"export": {"compress": "gzip"}}})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        *(
            (path, "names no directory")
            for path in ("/", ".", "..", "./", "out/..", ".csv", "out/.csv", "..csv", "out/...csv")
        ),
        ("out/audit.csv/", r"with a slash: write out/audit\.csv for the directory audit"),
        ("out/audit.csv/.", "with a slash"),
        ("file:///out/audit.csv", "names a URL"),
        ("s3://bucket/audit.csv", "names a URL"),
    ],
)
def test_a_csv_sink_that_would_lead_elsewhere_is_refused(path: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        export_destination(with_sink(path=path), "audit", "csv")


@pytest.mark.parametrize("path", ["/", ".", "..", "audit.jsonl/", "audit.jsonl/.", "a/.."])
def test_a_json_sink_that_names_a_directory_is_refused(path: str) -> None:
    with pytest.raises(SettingsError, match="names a directory"):
        export_destination(with_sink(path=path), "audit", "json")


@pytest.mark.parametrize(
    ("name", "twin", "is_refused"),
    [
        ("audit.jsonl", "AUDIT.jsonl", True),
        ("stra\u00dfe.jsonl", "STRASSE.jsonl", True),
        ("caf\u00e9.jsonl", "cafe\u0301.jsonl", True),
        ("audit.jsonl", "other.jsonl", False),
    ],
)
def test_two_sinks_whose_names_a_file_system_folds_are_refused(
    name: str, twin: str, is_refused: bool, tmp_path: Path
) -> None:
    # Two links to one file stand for one file that is found by both names.
    (tmp_path / name).touch()
    (tmp_path / twin).hardlink_to(tmp_path / name)
    sinks = {
        each: {"plugin": "x", "options": {"path": str(tmp_path / each)}} for each in (name, twin)
    }
    chosen = ElspethSettings.model_validate({"sinks": sinks})
    if is_refused:
        with pytest.raises(SettingsError, match="both lead to"):
            export_destination(chosen, name, "json")
    else:
        assert export_destination(chosen, name, "json") == tmp_path / name


def test_two_sinks_whose_names_a_file_system_keeps_apart_are_two_places(tmp_path: Path) -> None:
    for name in ("audit.jsonl", "AUDIT.jsonl"):
        (tmp_path / name).touch()
    if (tmp_path / "audit.jsonl").samefile(tmp_path / "AUDIT.jsonl"):
        pytest.skip("this file system folds cases")
    sinks = {
        each: {"plugin": "x", "options": {"path": str(tmp_path / each)}}
        for each in ("audit.jsonl", "AUDIT.jsonl")
    }
    chosen = ElspethSettings.model_validate({"sinks": sinks})
    assert export_destination(chosen, "audit.jsonl", "json") == tmp_path / "audit.jsonl"


@pytest.mark.parametrize(
    ("path", "other", "export_format"),
    [
        ("audit.csv", "audit", "csv"),
        ("audit.csv", "./audit/", "csv"),
        ("audit.csv", "{folder}/audit.csv", "csv"),
        ("audit.csv", "link/audit", "csv"),
        ("audit.jsonl", "elsewhere/../audit.jsonl", "json"),
    ],
)
def test_two_sinks_that_lead_to_one_place_are_refused(
    path: str, other: str, export_format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(".")
    sinks = {
        name: {"plugin": "x", "options": {"path": path.format(folder=tmp_path)}}
        for name, path in (("audit", path), ("other", other))
    }
    chosen = ElspethSettings.model_validate({"sinks": sinks})
    with pytest.raises(SettingsError, match="'audit' and 'other' both lead to audit"):
        export_destination(chosen, "audit", export_format)
