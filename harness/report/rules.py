"""The rules of the gate, as code scanning lists them: one for a topic, with help."""

from collections.abc import Mapping

from harness.bench.results import Topic
from querygrowth.reports import Rule

TOOL = "landscape export gate"

_RULES: Mapping[Topic, Rule] = {
    Topic.VACUITY: Rule(
        "Something was measured",
        "The exporter ended in an error, or exported nothing. Nothing else can be judged before "
        "that is repaired. The result is at the line of the exporter that raised.",
    ),
    Topic.EQUIVALENCE: Rule(
        "The export is the control's, to the byte",
        "The message shows the first record and field that differ, with the records around them. "
        "Signed exports have to stay the same, so the change to the exporter has to be undone.",
    ),
    Topic.GROWTH: Rule(
        "Queries do not grow with the run",
        "A query is sent in a loop: its count grows with the data. The result is at the line that "
        "sends it. Fetch what the loop needs in one query before it.",
    ),
    Topic.BASELINE: Rule(
        "Nothing costs more than the accepted baseline",
        "An exact count rose above the accepted one. Repair it, or accept the new counts with "
        "`harness baseline --update` and commit the file with the reason.",
    ),
    Topic.TARGETS: Rule(
        "The agreed targets are reached",
        "An agreed number was not reached at the size that it is judged at.",
    ),
    Topic.SPEED: Rule(
        "Not slower than the base revision",
        "Both revisions exported the same run in turn. The whole confidence interval of the ratio "
        "lies below the allowed loss.",
    ),
    Topic.SELFTEST: Rule(
        "The harness catches its seeded faults",
        "An exporter that is broken on purpose was not caught by its name, or a correct one failed."
        " The change is in the harness, and its verdicts cannot be trusted before it is repaired.",
    ),
}


def rules(docs_url: str = "") -> Mapping[str, Rule]:
    """Return the rules by the names of their topics.

    Args:
        docs_url: The address of the folder of the documentation. Without it no rule has a link.
    """
    page = f"{docs_url.rstrip('/')}/gate.md#topics" if docs_url else ""
    return {topic.value: Rule(each.text, each.help, page) for topic, each in _RULES.items()}
