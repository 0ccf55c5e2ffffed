"""Failures as SARIF 2.1.0, for code scanning: one result each, at the line it is about."""

import json
from typing import Any
from urllib.parse import quote

from harness.bench.results import Judgement, Results, Topic
from harness.report.text import visible_verdict
from querygrowth.verdict import Outcome, Verdict

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Outcome.FAILED: "error", Outcome.INCONCLUSIVE: "warning"}
_RULES = {
    Topic.VACUITY: "Something was measured",
    Topic.EQUIVALENCE: "The export is the control's, to the byte",
    Topic.GROWTH: "Queries do not grow with the run",
    Topic.BASELINE: "Nothing costs more than the accepted baseline",
    Topic.TARGETS: "The agreed targets are reached",
    Topic.SPEED: "Not slower than the base revision",
    Topic.SELFTEST: "The harness catches its seeded faults",
}


def render_sarif(results: Results) -> str:
    """Render failures, and what could not be decided, as a SARIF log.

    Paths are relative to the checkout's root ("SRCROOT"), as code scanning wants them.
    """
    reported = [each for each in results.ordered_judgements if each.verdict.outcome in _LEVELS]
    driver = {
        "name": "landscape export gate",
        "rules": [
            {"id": _rule_id(topic), "shortDescription": {"text": text}}
            for topic, text in _RULES.items()
        ],
    }
    run = {
        "tool": {"driver": driver},
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The checkout's root"}}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each) for each in reported],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _result(each: Judgement) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": _rule_id(each.topic),
        "level": _LEVELS[each.verdict.outcome],
        "message": {"text": _plain(each.verdict)},
    }
    if each.place:
        result["locations"] = [
            {
                "physicalLocation": {
                    "artifactLocation": {
                        "uri": quote(each.place.path, errors="surrogateescape"),
                        "uriBaseId": "SRCROOT",
                    },
                    "region": {"startLine": each.place.line},
                }
            }
        ]
    return result


def _plain(verdict: Verdict) -> str:
    """The verdict's text without links, which SARIF reads even in plain text: `[here](target)`."""
    return str(visible_verdict(verdict)).replace("](", "] (")


def _rule_id(topic: Topic) -> str:
    return topic.value.replace(" ", "-")
