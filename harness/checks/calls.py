"""Judge calls that one export to a file never makes: a second call, other keys, other forms.

A script is a list of calls on exporters. The candidate has to give what the control gives in it.
"""

from collections.abc import Sequence

from harness.checks.key_scripts import CLOCK_SCRIPTS, KEY_SCRIPTS
from harness.checks.reference_runs import ReferenceRuns
from harness.checks.script_runs import (
    FILES,
    NEARLY_KNOWN,
    OTHER_RUN,
    SEEN,
    UNKNOWN_RUN,
    ScriptRuns,
    build,
    clock,
    export,
    group,
    grow,
    read,
    start,
    write_csv,
    write_jsonl,
)
from harness.checks.target_scripts import TARGET_SCRIPTS
from harness.compare.call_outcomes import (
    CallDifference,
    CallScript,
    first_difference_in_calls,
)
from harness.compare.difference import Kind
from harness.exporters.measured import Measured
from querygrowth.verdict import Verdict, judge

_OTHER_KEY = b"another key of the harness, which proves as little as the first".hex()

_STATE = "state that one call leaves to the next: in the object, its class or its module"
_FORMS = "how the records are made and handed over in this form of the call"

FORM_SCRIPTS = (
    CallScript(
        "an unsigned export of every record type",
        (build(), export(sign=False), build(), export(), build(key=None), export()),
        "what only a signed export goes through",
    ),
    CallScript(
        "sign passed by its position",
        (
            *(build(), export(sign=True, positional=True)),
            *(build(), export(sign=False, positional=True)),
        ),
        "the signature export_run(run_id, sign=False)",
    ),
    CallScript(
        "all records held before the first is read",
        (
            *(build(), export(sign=True, consume="list")),
            *(build(), export(consume="tuple")),
        ),
        "one dict that is filled again for every record",
    ),
    CallScript(
        "records changed by the consumer",
        (
            *(build(), export(sign=True, consume="change")),
            *(build(), export(consume="change")),
        ),
        "what is read from a record after it was yielded",
    ),
    CallScript("records grouped by type", (build(), group(), build(), group(sign=True)), _FORMS),
    CallScript(
        "an export in another thread than the one that made the exporter",
        (
            *(build(), export(sign=True, where="thread")),
            *(build(), export(where="thread")),
        ),
        "connections and thread-local values that belong to the thread of the constructor",
    ),
    CallScript(
        "an export that a running event loop calls",
        (
            *(build(), export(sign=True, where="event loop")),
            *(build(), export(where="event loop")),
        ),
        "asyncio.run, which a running event loop refuses: an event loop in a thread instead",
    ),
    CallScript(
        "an export that is begun in one thread and read on in another",
        (
            *(build(), start("a", sign=True), read("a", 1), read("a", 30, where="thread")),
            *(read("a", 1, where="event loop"), read("a", where="thread")),
        ),
        "thread-local values and connections, which the next thread does not have",
    ),
    CallScript(
        "files that are written in another thread, and by a running event loop",
        (
            *(build(), write_jsonl("thread.jsonl", where="thread"), FILES),
            *(build(), write_csv("csv", where="thread"), FILES),
            *(build(), write_jsonl("loop.jsonl", where="event loop"), FILES),
        ),
        "signal handlers, asyncio.run and connections that belong to another thread",
    ),
    CallScript(
        "a run id of a subclass of str",
        (build(), export(subclass=True, sign=True)),
        "tests for the class str",
    ),
    CallScript(
        "signing without a key",
        (
            *(build(key=None), export(sign=True)),
            *(build(key=None), export(UNKNOWN_RUN, sign=True)),
            *(build(key=None), group(sign=True)),
            *(build(key=None), write_jsonl("unsigned.jsonl")),
            *(build(key=None), write_csv("unsigned"), FILES),
        ),
        "a ValueError before the first record, and only for a missing key",
    ),
)
"""Forms of one call."""

SEQUENCE_SCRIPTS = (
    CallScript(
        "a second call for the same run",
        (
            build(),
            export(sign=True),
            clock("2026-01-01T12:30:16.000001+00:00"),
            export(sign=True),
            export(),
            export(),
        ),
        _STATE,
    ),
    CallScript(
        "a second call for another run",
        (build(), export(sign=True), export(OTHER_RUN, sign=True), export(sign=True), group()),
        _STATE,
    ),
    CallScript(
        "records grouped by type in several calls",
        (build(), group(), group(OTHER_RUN, sign=True), group(sign=True), group(), export()),
        _STATE,
    ),
    CallScript(
        "signed, then unsigned",
        (build(), export(sign=True), export(), group(), export(OTHER_RUN), export(OTHER_RUN)),
        _STATE,
    ),
    CallScript(
        "unsigned, then signed",
        (build(), export(), export(sign=True), export(OTHER_RUN), export(OTHER_RUN, sign=True)),
        _STATE,
    ),
    CallScript(
        "an unknown run, then a known one",
        (
            build(),
            export(UNKNOWN_RUN, sign=True),
            export(sign=True),
            export(UNKNOWN_RUN),
            export(),
        ),
        _STATE,
    ),
    CallScript(
        "signing without a key, then an unsigned export",
        (build(key=None), export(sign=True), export(), export(sign=True), group()),
        _STATE,
    ),
    CallScript(
        "an abandoned export, then a whole one",
        (
            build(),
            start("first", sign=True),
            read("first", 5),
            {"step": "close", "iterator": "first"},
            export(sign=True),
            start("in the rows", sign=True),
            read("in the rows", 40),
            {"step": "close", "iterator": "in the rows"},
            start("second", OTHER_RUN, sign=True),
            read("second", 40),
            {"step": "drop", "iterators": ["second"]},
            export(sign=True),
        ),
        _STATE,
    ),
    CallScript(
        "two exports of one object at the same time",
        (
            build(),
            start("first", sign=True),
            start("second", OTHER_RUN, sign=True),
            read("first", 3),
            read("second", 5),
            read("first", 40),
            read("second"),
            read("first"),
            start("third"),
            start("fourth", sign=True),
            read("third", 10),
            read("fourth", 20),
            read("third"),
            read("fourth"),
        ),
        _STATE,
    ),
    CallScript(
        "two objects with two keys at the same time",
        (
            build("a"),
            build("b", key=_OTHER_KEY),
            start("first", sign=True, exporter="a"),
            read("first", 10),
            export(sign=True, exporter="b"),
            read("first"),
            export(OTHER_RUN, sign=True, exporter="a"),
        ),
        _STATE,
    ),
    CallScript(
        "two databases that hold a run of the same id",
        (
            build("a"),
            build("b", database=1),
            export(sign=True, exporter="a"),
            export(sign=True, exporter="b"),
            start("first", exporter="a"),
            start("second", exporter="b"),
            read("first", 4),
            read("second", 20),
            read("first"),
            read("second"),
        ),
        _STATE,
    ),
    CallScript(
        "JSON Lines files, one after the other",
        (
            build(),
            write_jsonl("export.jsonl"),
            FILES,
            write_jsonl("export.jsonl", OTHER_RUN, sign=False),
            FILES,
            write_jsonl("unknown.jsonl", UNKNOWN_RUN),
            write_jsonl("export.txt"),
            FILES,
        ),
        "how files are written and replaced, and what one file leaves to the next",
    ),
    CallScript(
        "CSV directories, one after the other",
        (
            build(),
            write_csv("csv"),
            FILES,
            write_csv("csv", OTHER_RUN, sign=False),
            FILES,
            write_csv("unknown", UNKNOWN_RUN),
            write_csv("csv"),
            FILES,
        ),
        "how files are written and replaced, and what one file leaves to the next",
    ),
    CallScript(
        "an export after the consumer has changed the records of another",
        (
            *(build(), export(sign=True, consume="change"), export(sign=True)),
            *(build(), export(consume="change"), export(), group()),
        ),
        "records that are kept and yielded again",
    ),
    # After those on state: a run that an exporter keeps from before is then found by its cause.
    CallScript(
        "unknown runs whose ids are like that of a known one",
        (build(), *(export(run_id, sign=True) for run_id in NEARLY_KNOWN)),
        "find the run by its whole id, as it is given",
    ),
)
"""Several calls on one object, or on two."""

_CLOCK_SET = ("2026-03-04T05:06:07.000009+00:00", "2026-03-04T06:07:08.000010+00:00")
JOBS_SCRIPTS = (
    CallScript(
        "a file by two jobs",
        (build(), write_jsonl("one.jsonl", jobs=1), write_jsonl("two.jsonl", jobs=2), FILES),
        "how the jobs share the run, and how their parts are joined",
    ),
)
"""Scripts that start processes, where the exporter takes an option for them."""

SCRIPTS = (
    *FORM_SCRIPTS,
    *SEQUENCE_SCRIPTS,
    *TARGET_SCRIPTS,
    *KEY_SCRIPTS,
    *CLOCK_SCRIPTS,
    *JOBS_SCRIPTS,
)
"""The scripts of the check, the simplest first: the first failure names the cause."""

CHANGE_SCRIPT = CallScript(
    "a run that grows between two exports of one object",
    (
        *(build(), export(sign=True), group(), write_jsonl("first.jsonl"), write_csv("first")),
        *(grow(), export(sign=True), export(), group()),
        *(write_jsonl("second.jsonl"), write_csv("second"), FILES),
    ),
    "what an object, its class or its module keeps of a run: read it at every call",
)
"""The script whose database changes, so that every exporter needs one for itself."""


_EXPECTED = "in every sequence of calls what the control gives"


def judge_calls(
    candidate: Measured, runs: ReferenceRuns, only: Sequence[CallScript] | None = None
) -> Verdict:
    """Have a candidate perform call scripts, up to the first that differs from the control's.

    Args:
        candidate: The exporter to judge.
        runs: The runs of one backend.
        only: The scripts to perform; None performs SCRIPTS, and the two whose run or clock changes.
    """
    script_runs = ScriptRuns(runs)
    scripts = SCRIPTS if only is None else only
    for script in scripts:
        with script_runs.performed(candidate, script) as performance:
            found = first_difference_in_calls(script_runs.control(script), performance)
            if found is not None:
                return _verdict(candidate, script, found)
    if only is None:
        with (
            script_runs.fresh_database() as db,
            script_runs.performed(candidate, CHANGE_SCRIPT, databases=(db, db)) as performance,
        ):
            control = script_runs.control_of_changes(CHANGE_SCRIPT)
            found = first_difference_in_calls(control, performance)
            if found is not None:
                return _verdict(candidate, CHANGE_SCRIPT, found)
        early = _early_clock(candidate, script_runs)
        if early is not None:
            return early
    return judge(
        candidate.name,
        True,
        expected=_EXPECTED,
        seen=f"the same records and files in {len(scripts)} sequences of calls",
    )


_EARLY_CLOCK = CallScript(
    "a clock that is set while an export is read",
    (
        *(build(), clock(_CLOCK_SET[0]), start("first", sign=True), read("first", 1)),
        *({"step": "fail"}, clock(_CLOCK_SET[1]), read("first"), SEEN),
    ),
    "the clock is asked when everything was read: an export is not older than its records",
)


def _early_clock(candidate: Measured, script_runs: ScriptRuns) -> Verdict | None:
    """Return the failure of an exporter that asks the clock before its last query; or None."""
    with script_runs.performed(candidate, _EARLY_CLOCK) as performance:
        *_, read_on, seen = performance.outcomes
        *_, last = performance.records(len(performance.outcomes) - 2) or ({},)
    # One that reads everything at the call, or at the first record, asks the clock after it.
    later = [each["table"] for each in seen.get("queries", ()) if each["table"]]
    if read_on["error"] or not later or last.get("exported_at") != _CLOCK_SET[0]:
        return None
    return judge(
        candidate.name,
        False,
        expected=_EXPECTED,
        seen=f"exported_at is older than what was read after it: {_EARLY_CLOCK.name}",
        evidence=(f"{len(later)} queries followed, about {', '.join(dict.fromkeys(later))}",),
        next_step=_EARLY_CLOCK.next_step,
        kind=Kind.FIELD.value,
    )


def _verdict(candidate: Measured, script: CallScript, found: CallDifference) -> Verdict:
    return judge(
        candidate.name,
        False,
        expected=_EXPECTED,
        seen=found.headline,
        evidence=found.evidence,
        next_step=script.next_step,
        kind=found.kind,
    )
