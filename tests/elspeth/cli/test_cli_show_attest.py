"""`landscape show`, `landscape attest`, and what `--json` prints for every command."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import Command
from pydantic import TypeAdapter
from sqlalchemy import make_url

from elspeth.cli import main as cli
from elspeth.cli.commands.show import RecordTypeName
from elspeth.cli.reports import Report, reports_schema
from elspeth.core.landscape import LandscapeDB
from elspeth.core.landscape.verification.record_shapes import SHAPES

SCHEMA = Path(__file__).parents[3] / "docs" / "landscape.schema.json"


@pytest.fixture
def exported(landscape: Command, sqlite: str, folder: Path) -> Path:
    target = folder / "run.jsonl"
    landscape("export", "--db", sqlite, "--run", "run-1", "--output", target, "--sign")
    return target


def records(printed: str) -> list[dict[str, Any]]:
    document = json.loads(printed)
    TypeAdapter(Report).validate_python(document)
    return list(document["records"])


class TestShow:
    @pytest.mark.parametrize("form", ["jsonl", "gzip", "csv"])
    def test_all_records_are_those_of_the_export(
        self, landscape: Command, sqlite: str, folder: Path, exported: Path, form: str
    ) -> None:
        lines = [json.loads(line) for line in exported.read_text().splitlines()]
        target = exported
        if form != "jsonl":
            target = folder / form
            option = ("--format", "csv") if form == "csv" else ("--compress", "gzip")
            export = ("export", "--db", sqlite, "--run", "run-1", "--output", target, "--sign")
            assert landscape(*export, *option).code == 0
        shown = records(landscape("show", target, "--json").out)
        # The manifest holds the time of its export.
        assert shown[:-1] == lines[:-1]
        assert len(shown) == len(lines)

    def test_records_are_chosen_by_type_and_id(self, landscape: Command, exported: Path) -> None:
        tokens = records(landscape("show", exported, "--type", "token", "--json").out)
        assert {each["record_type"] for each in tokens} == {"token"}
        wanted = tokens[3]["token_id"]
        (one,) = records(
            landscape("show", exported, "--type", "token", "--id", wanted, "--json").out
        )
        assert one == tokens[3]
        of_any_type = records(landscape("show", exported, "--id", wanted, "--json").out)
        assert one in of_any_type
        assert all(wanted in each.values() for each in of_any_type)

    def test_a_record_is_shown_line_by_line(self, landscape: Command, exported: Path) -> None:
        shown = landscape("show", exported, "--type", "run")
        assert shown.code == 0
        first, *fields = shown.out.splitlines()
        assert first == "run"
        assert "  run_id: run-1" in fields

    @pytest.mark.parametrize("as_json", [False, True])
    def test_no_match_is_exit_1_and_says_so(
        self, landscape: Command, exported: Path, as_json: bool
    ) -> None:
        options = ("--type", "call", "--id", "nothing") + (("--json",) if as_json else ())
        shown = landscape("show", exported, *options)
        assert shown.code == 1
        assert "no records of type call with the id 'nothing'" in shown.err
        if as_json:
            assert records(shown.out) == []

    def test_what_cannot_be_read_is_named_and_the_rest_is_shown(
        self, landscape: Command, exported: Path
    ) -> None:
        first, second, *rest = exported.read_bytes().splitlines(keepends=True)
        exported.write_bytes(b"".join((first, b"\x1b[2J{\n", second, *rest)))
        shown = landscape("show", exported, "--json")
        assert shown.code == 1
        assert "line 2: CORRUPT_JSON" in shown.err
        assert len(records(shown.out)) == 51

    @pytest.mark.parametrize("given", ["missing", "", "folder"])
    def test_a_path_that_is_no_export(self, landscape: Command, folder: Path, given: str) -> None:
        (folder / "folder").mkdir()
        shown = landscape("show", folder / given if given else "", "--json")
        if given == "missing":
            assert (shown.code, shown.out, shown.err.count("\n")) == (3, "", 1)
        else:
            assert shown.code == 1

    def test_every_type_can_be_chosen(self) -> None:
        assert [name.value for name in RecordTypeName] == list(SHAPES)


class TestAttest:
    def test_an_export_is_attested_once(
        self, landscape: Command, sqlite: str, exported: Path
    ) -> None:
        assert landscape("verify", exported, "--attestation").code == 1
        made = landscape("attest", exported, "--db", sqlite)
        assert (made.code, made.err) == (0, "")
        assert "attested as number 1 in " in made.out
        assert landscape("verify", exported, "--attestation").code == 0
        before = exported.with_name("run.jsonl.attestation.json").read_bytes()
        again = landscape("attest", exported, "--db", sqlite, "--json")
        report = json.loads(again.out)
        assert (again.code, report["is_new"], report["outcome"]) == (0, False, "skipped")
        assert exported.with_name("run.jsonl.attestation.json").read_bytes() == before

    def test_a_database_without_its_run_is_refused(
        self, landscape: Command, exported: Path, tmp_path: Path
    ) -> None:
        url = f"sqlite:///{tmp_path / 'other.db'}"
        LandscapeDB(url).close()
        ended = landscape("attest", exported, "--db", url)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == f"error: {url} has no run 'run-1' to attest\n"

    def test_the_next_export_is_the_next_number(
        self, landscape: Command, sqlite: str, exported: Path
    ) -> None:
        landscape("attest", exported, "--db", sqlite)
        export = ("export", "--db", sqlite, "--run", "run-1", "--output", exported, "--sign")
        landscape(*export)
        assert "number 2" in landscape("attest", exported, "--db", sqlite).out
        assert (
            landscape(*export, "--attest").out.splitlines()[-1].startswith("attested as number 3")
        )

    def test_an_older_export_is_refused(
        self, landscape: Command, sqlite: str, exported: Path
    ) -> None:
        older = exported.read_bytes()
        export = ("export", "--db", sqlite, "--run", "run-1", "--output", exported, "--sign")
        landscape(*export, "--attest")
        exported.write_bytes(older)
        refused = landscape("attest", exported, "--db", sqlite)
        assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
        assert "older than the export attested last" in refused.err

    def test_an_export_that_does_not_verify_is_exit_1(
        self, landscape: Command, sqlite: str, exported: Path
    ) -> None:
        exported.write_bytes(exported.read_bytes()[:-1])
        ended = landscape("attest", exported, "--db", sqlite)
        assert (ended.code, ended.err) == (1, "")
        assert ended.out.splitlines()[-1] == "not attested"
        report = json.loads(landscape("attest", exported, "--db", sqlite, "--json").out)
        assert (report["outcome"], report["attestation"]) == ("failed", None)
        assert not exported.with_name("run.jsonl.attestation.json").exists()

    def test_a_database_that_holds_something_else_is_exit_5(
        self, landscape: Command, sqlite: str, exported: Path
    ) -> None:
        with closing(sqlite3.connect(make_url(sqlite).database or "")) as connection:
            connection.execute("DELETE FROM calls")
            connection.commit()
        ended = landscape("attest", exported, "--db", sqlite)
        assert (ended.code, ended.out, ended.err.count("\n")) == (5, "", 1)
        assert "of type call" in ended.err

    def test_unsigned_exports_need_an_option(
        self, landscape: Command, sqlite: str, folder: Path
    ) -> None:
        target = folder / "unsigned.jsonl"
        landscape("export", "--db", sqlite, "--run", "run-1", "--output", target)
        assert landscape("attest", target, "--db", sqlite).code == 1
        assert landscape("attest", target, "--db", sqlite, "--allow-unsigned").code == 0
        verify = ("verify", target, "--attestation", "--allow-unsigned")
        assert landscape(*verify).code == 0

    def test_nothing_at_the_path(self, landscape: Command, sqlite: str, folder: Path) -> None:
        ended = landscape("attest", folder / "none.jsonl", "--db", sqlite)
        assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
        assert list(folder.iterdir()) == []


class TestJson:
    @pytest.fixture
    def calls(self, sqlite: str, exported: Path, tmp_path: Path) -> dict[str, tuple[object, ...]]:
        settings = tmp_path / "settings.yaml"
        settings.write_text(
            json.dumps(
                {
                    "landscape": {"url": sqlite, "export": {"sink": "s"}},
                    "sinks": {"s": {"plugin": "p", "options": {"path": "x"}}},
                }
            )
        )
        target = exported.with_name("again.jsonl")
        return {
            "runs": ("--db", sqlite),
            "export": ("--db", sqlite, "--run", "run-1", "--output", target),
            "reconcile": ("--settings", settings),
            "verify": (exported,),
            "attest": (exported, "--db", sqlite),
            "show": (exported,),
            "doctor": ("--db", sqlite),
        }

    @pytest.mark.parametrize("command", cli.COMMANDS)
    def test_every_command_prints_one_document_of_the_schema(
        self, landscape: Command, calls: dict[str, tuple[object, ...]], command: str
    ) -> None:
        ended = landscape(command, *calls[command], "--json")
        assert (ended.code, ended.err) == (0, "")
        document = json.loads(ended.out)
        assert ended.out.count("\n") == 1
        report = TypeAdapter(Report).validate_python(document)
        assert (report.command, report.exit_code) == (command, 0)

    def test_the_schema_is_published(self) -> None:
        write = "from elspeth.cli.reports import reports_schema; print(reports_schema(), end='')"
        assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json.loads(reports_schema()), (
            f'python -c "{write}" > docs/landscape.schema.json'
        )

    def test_hostile_text_is_escaped(self, landscape: Command, sqlite: str) -> None:
        with closing(sqlite3.connect(make_url(sqlite).database or "")) as connection:
            connection.execute("UPDATE runs SET run_id = ?", ("\x1b[2J\x7f\n\u2028é",))
            connection.commit()
        ended = landscape("runs", "--db", sqlite, "--json")
        assert ended.out.isascii()
        assert ended.out.rstrip("\n").isprintable()
        assert json.loads(ended.out)["runs"][0]["run_id"] == "\x1b[2J\x7f\n\u2028é"


class TestHelp:
    @pytest.mark.parametrize("command", cli.COMMANDS)
    def test_every_command_answers_to_both_options_with_examples(
        self, landscape: Command, command: str
    ) -> None:
        short, long = landscape(command, "-h"), landscape(command, "--help")
        assert short == long
        assert short.code == 0
        examples = short.out.partition("Examples:\n")[2].splitlines()
        assert examples
        group = typer.main.get_command(cli.app)
        for example in examples:
            calls = [part.split() for part in example.split("|")]
            (words,) = (words for words in calls if words[:2] == ["landscape", command])
            # It parses, so its options exist.
            group.get_command(None, command).make_context(command, words[2:])  # type: ignore[attr-defined, arg-type]

    @pytest.mark.parametrize("command", [(), *((name,) for name in cli.COMMANDS)])
    def test_the_version_is_that_of_the_distribution(
        self, landscape: Command, command: tuple[str, ...]
    ) -> None:
        shown = landscape(*command, "--version")
        assert (shown.code, shown.out.split()[0]) == (0, "elspeth-landscape")

    def test_the_list_of_commands_has_whole_sentences_and_examples(
        self, landscape: Command
    ) -> None:
        shown = landscape("-h").out
        listed, _, examples = shown.partition("Commands:\n")[2].partition("Examples:\n")
        for name, line in zip(cli.COMMANDS, listed.strip().splitlines(), strict=True):
            assert line.split()[0] == name
            assert line.endswith(".")
            assert not line.endswith("...")
        assert {words.split()[1] for words in examples.splitlines()} <= set(cli.COMMANDS)
