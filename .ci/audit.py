"""Audit: whether a locked dependency has a known vulnerability; `tox -e audit` runs it.

pip-audit asks PyPI's vulnerability service. Exit codes: 0, none is known; 1, pip-audit found some;
2, it could not read the file; 3, not audited, which is neither a pass nor a finding: there is no
network, or a package mirror stands in PyPI's place. pip-audit itself ends with 0 behind a mirror.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCKED = Path(__file__).with_name("requirements.txt")
FINE, VULNERABLE, UNREADABLE, NOT_AUDITED = range(4)
_NO_ANSWER = ("requests.exceptions", "ConnectionError", "ServiceError", "not connect", "blocking")
_LONGEST_SHOWN = 200


@dataclass(frozen=True)
class Audit:
    """What came of it: an exit code, and lines for a person."""

    code: int
    lines: tuple[str, ...]


def main(arguments: list[str]) -> int:
    """Run pip-audit over the locked file, say what came of it, and return the exit code."""
    command = [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(LOCKED)),
        # The file is complete and pinned: nothing is to be resolved or installed.
        *("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"),
        *arguments,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    audit = judge(ended.stdout, ended.stderr)
    print(*audit.lines, sep="\n")
    return audit.code


def judge(answer: str, errors: str) -> Audit:
    """Judge by what pip-audit wrote: its JSON, or the error in its place."""
    if not answer.strip():
        last = (errors.strip() or "it said nothing").splitlines()[-1][:_LONGEST_SHOWN]
        if any(sign in errors for sign in _NO_ANSWER):
            return Audit(NOT_AUDITED, (f"not audited, no network: {last}",))
        return Audit(UNREADABLE, (f"pip-audit: {last}",))
    packages = json.loads(answer)["dependencies"]
    found = tuple(line for package in packages for line in _findings(package))
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if found:
        return Audit(VULNERABLE, found)
    if unknown or not packages:
        named = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        said = f"{len(unknown)} of {len(packages)} are unknown to the service: {named}"
        return Audit(NOT_AUDITED, (f"not audited, no network or a mirror: {said}",))
    return Audit(FINE, (f"{len(packages)} packages, no known vulnerability",))


def _findings(package: dict[str, Any]) -> Iterator[str]:
    for each in package.get("vulns", ()):
        repaired = ", ".join(each["fix_versions"]) or "no release"
        yield f"{package['name']} {package['version']}: {each['id']}, repaired in {repaired}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
