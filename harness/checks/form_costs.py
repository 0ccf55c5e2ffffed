"""Judge what the other forms of an export cost: files, groups, and a later call on one object.

The checks of growth count a signed `export_run` of a new object. A loop in `write_csv` alone, or in
an unsigned export, or a query more at every further call, shows only in these forms.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.checks.cost_runs import CostRuns
from harness.checks.declared import Declared
from harness.checks.script_runs import SEEN, build, export, group, write_csv, write_jsonl
from harness.compare.call_outcomes import Step
from harness.exporters.measured import Measured
from harness.exporters.probe.call_script import Outcome
from harness.generate.spec import RunSpec
from querygrowth.verdict import GROWTH, Verdict, judge

# A list of ids is usually far longer than the larger run has entities of a kind.
_SIZES = (3, 30)
_RUNS = tuple(
    RunSpec(
        run_id=f"forms-{size}",
        rows=size,
        forks=1,
        routing_groups=1,
        calls=1,
        nodes=size + 1,
        edges=size,
        batches=size,
        members=1,
        artifacts=size,
    )
    for size in _SIZES
)
_COUNT: Step = {"step": "fail"}
_CALLS = 4
_EXPORT_RUN = "export_run"


def judge_form_costs(
    candidate: Measured, runs: CostRuns, declared: Declared, directory: Path
) -> Sequence[Verdict]:
    """Judge the queries and transactions of files, groups and later calls.

    A form may send more queries than `export_run`. How many more must not grow with the run.

    Args:
        candidate: The exporter on trial.
        runs: The databases of these runs.
        declared: The costs that the candidate declares.
        directory: The folder for what the exporter writes.

    Returns:
        A verdict on the forms, signed and unsigned, and one on later calls. An export that ends in
        an error has none: that is the matter of other checks.
    """
    small, large = (_of_forms(candidate, runs, spec.run_id, directory) for spec in _RUNS)
    both = {name: (seen, large[name]) for name, seen in small.items() if name in large}
    later = [export(_RUNS[0].run_id, sign=True)] * _CALLS
    calls = _counted(candidate, runs, later, directory)
    return (
        *((_judge_forms(candidate.name, both, declared),) if _EXPORT_RUN in both else ()),
        *((_judge_calls(candidate.name, calls),) if None not in calls else ()),
    )


def _of_forms(
    candidate: Measured, runs: CostRuns, run_id: str, directory: Path
) -> Mapping[str, Outcome]:
    """Return what was counted in every form that the candidate has, by its name."""
    forms = {
        f"{name}{'' if sign else ', unsigned'}": call
        for sign in (True, False)
        for name, call in (
            (_EXPORT_RUN, export(run_id, sign=sign)),
            ("export_run_grouped", group(run_id, sign=sign)),
            ("write_jsonl", write_jsonl("export.jsonl", run_id, sign=sign)),
            ("write_csv", write_csv("csv", run_id, sign=sign)),
        )
    }
    # The first export opens a connection, for which SQLAlchemy sends queries to PostgreSQL.
    first = export(run_id, sign=True)
    _, *seen = _counted(candidate, runs, [first, *forms.values()], directory)
    return {name: each for name, each in zip(forms, seen, strict=True) if each is not None}


def _counted(
    candidate: Measured, runs: CostRuns, calls: Sequence[Step], directory: Path
) -> Sequence[Outcome | None]:
    """Count in every call on one object; None for one that is missing or ends in an error."""
    steps = [build(), *(step for call in calls for step in (_COUNT, call, SEEN))]
    with TemporaryDirectory(prefix="harness-", dir=directory) as folder:
        found = candidate.perform({"steps": steps}, [runs.stored(_RUNS).db], Path(folder))
    ended = zip(found[2::3], found[3::3], strict=True)
    return [
        None if call["error"] or "missing" in call or seen["error"] else seen
        for call, seen in ended
    ]


def _judge_forms(
    name: str, found: Mapping[str, tuple[Outcome, Outcome]], declared: Declared
) -> Verdict:
    counts = {form: [len(each["queries"]) for each in both] for form, both in found.items()}
    begun = {form: max(each["transactions"] for each in both) for form, both in found.items()}
    small, large = counts[_EXPORT_RUN]
    grown = [form for form, (few, many) in counts.items() if many - large > few - small]
    # Those of export_run, and of the JSON Lines file, are judged with the other counts.
    granted = max(declared.transactions, begun[_EXPORT_RUN])
    several = [form for form, transactions in begun.items() if transactions > granted]
    # Those of export_run are the matter of the other verdicts on queries.
    past = {form: max(each["past"] for each in both) for form, both in found.items()}
    hidden = [form for form, number in past.items() if number > past[_EXPORT_RUN]]
    if hidden:
        seen = f"{past[hidden[0]]} queries of {hidden[0]} went past SQLAlchemy"
        evidence = []
        next_step = "cursors of the driver, which cannot be counted"
    elif grown:
        few, many = counts[grown[0]]
        tables = Counter(each["table"] for each in found[grown[0]][1]["queries"])
        seen = f"queries of {grown[0]} grew with the run: {few}, then {many}"
        evidence = [
            f"{count} about {table or 'no table'}" for table, count in tables.most_common(3)
        ]
        next_step = "a loop that a signed export_run does not have"
    elif several:
        seen = f"{begun[several[0]]} transactions in {several[0]}"
        evidence = []
        next_step = "one snapshot for all records; or declare what is needed with --transactions"
    else:
        seen, evidence, next_step = "the queries of files and groups follow export_run", [], ""
    return judge(
        name,
        not (grown or several or hidden),
        expected=f"in every form the growth of export_run, and at most {granted} transaction"
        f"{'' if granted == 1 else 's'}",
        seen=seen,
        evidence=evidence,
        next_step=next_step,
        kind=GROWTH,
    )


def _judge_calls(name: str, calls: Sequence[Outcome | None]) -> Verdict:
    counts = [len(each["queries"]) for each in calls if each is not None]
    # The first call may prepare something, or find nothing prepared.
    rose = counts[-1] > counts[1]
    return judge(
        name,
        not rose,
        expected="as many queries for the same run at every further call of one object",
        seen=f"queries grew with the calls of one object: {', '.join(map(str, counts))}"
        if rose
        else "the same queries at every call",
        next_step="what the object keeps between calls",
        kind=GROWTH,
    )
