"""Revisions: a git revision checked out beside the working tree, to run its exporter from."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.bench.environment import commit_of
from harness.exporters.subprocess_probe import Probe


class RevisionError(ValueError):
    """A revision is unknown, or there is no git checkout to take it from."""


@dataclass(frozen=True)
class Checkout:
    """The files of one revision, or of the working tree as it is. `commit` may end in +changes."""

    name: str
    commit: str
    directory: Path

    @property
    def is_dirty(self) -> bool:
        """Whether files differ from the commit."""
        return self.commit.endswith("+changes")

    def exporter(self, reference: str, *, role: str, python: str) -> Probe:
        """Its exporter, for processes of its own; `role` tells it from the other side's."""
        paths = (self.directory / "src", self.directory)
        return Probe(reference, paths, python, name=f"{role} {self.name}")


def working_tree(directory: Path) -> Checkout:
    """The working tree that a directory is in, with any changes; RevisionError without git."""
    root = Path(_git(directory, "rev-parse", "--show-toplevel"))
    return Checkout("working tree", commit_of(root), root)


@contextmanager
def checked_out(tree: Checkout, revision: str, directory: Path) -> Iterator[Checkout]:
    """Check a revision out into a new directory as a worktree, which is removed in the end.

    Raises RevisionError for a revision that the repository does not have.
    """
    try:
        commit = _git(tree.directory, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except RevisionError:
        raise RevisionError(f"no revision {revision!r} in {tree.directory}") from None
    _git(tree.directory, "worktree", "add", "--quiet", "--detach", str(directory), commit)
    try:
        yield Checkout(revision, commit, directory)
    finally:
        _git(tree.directory, "worktree", "remove", "--force", str(directory))


def changed_files(tree: Checkout, base: str) -> tuple[str, ...]:
    """The files in which a working tree differs from where it left `base`; paths from its root."""
    merge_base = _git(tree.directory, "merge-base", base, "HEAD")
    return tuple(_git(tree.directory, "diff", "--name-only", merge_base).splitlines())


def _git(directory: Path, *arguments: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words, a path and a revision, no shell
            ["git", "-C", str(directory), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise RevisionError(f"git cannot be run: {error.strerror}") from error
    if answer.returncode != 0:
        said = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        raise RevisionError(f"git {arguments[0]} failed in {directory}: {said}")
    return answer.stdout.strip()
