"""Git revisions: the one that a checkout is at, and others checked out beside the working tree."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.exporters.subprocess_probe import Probe

UNKNOWN = "unknown"
_DIRTY = "+changes"


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
        return self.commit.endswith(_DIRTY)

    def exporter(self, reference: str, *, role: str, python: str) -> Probe:
        """A probe of this checkout's exporter.

        Args:
            reference: The exporter as module:attribute.
            role: What to call this side of a comparison, such as "base".
            python: The interpreter.
        """
        paths = (self.directory / "src", self.directory)
        return Probe(reference, paths, python, name=f"{role} {self.name}")


def commit_of(checkout: Path) -> str:
    """The revision of a checkout, with "+changes" when files differ; "unknown" without git."""
    try:
        revision = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except RevisionError:
        return UNKNOWN
    return f"{revision}{_DIRTY}" if changed else revision


def working_tree(directory: Path) -> Checkout:
    """The working tree that a directory is in, with any changes; RevisionError without git."""
    root = Path(_git(directory, "rev-parse", "--show-toplevel"))
    return Checkout("working tree", commit_of(root), root)


@contextmanager
def checked_out(tree: Checkout, revision: str, directory: Path) -> Iterator[Checkout]:
    """Check a revision out into a new directory as a git worktree, and remove it on exit.

    Args:
        tree: A checkout of the same repository.
        revision: A branch, a tag or a commit.
        directory: Must not exist.

    Raises:
        RevisionError: The repository has no such revision.
    """
    try:
        # `^{commit}` also keeps a revision that looks like an option from being one.
        commit = _git(tree.directory, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except RevisionError:
        raise RevisionError(f"no revision {revision!r} in {tree.directory}") from None
    _git(tree.directory, "worktree", "add", "--quiet", "--detach", str(directory), commit)
    try:
        yield Checkout(revision, commit, directory)
    finally:
        _git(tree.directory, "worktree", "remove", "--force", str(directory))


def changed_files(tree: Checkout, base: str) -> tuple[str, ...]:
    """The files that differ from the merge base with `base`; paths are relative to the root."""
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
