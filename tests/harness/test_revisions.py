"""Revisions: checked out beside the working tree, in real repositories, and removed again."""

import subprocess
from pathlib import Path

import pytest

from harness.bench.environment import RevisionError, changed_files, checked_out, working_tree


def git(directory: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(directory), *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits: `one`, then `two` in the same file."""
    directory = tmp_path / "repository"
    directory.mkdir()
    git(directory, "init", "--initial-branch", "main")
    git(directory, "config", "user.name", "somebody")
    git(directory, "config", "user.email", "somebody@localhost")
    for text in ("one", "two"):
        (directory / "file").write_text(text)
        git(directory, "add", "file")
        git(directory, "commit", "--message", text)
        git(directory, "tag", text)
    return directory


def test_a_revision_is_checked_out_beside_the_tree_and_removed(
    repository: Path, tmp_path: Path
) -> None:
    tree = working_tree(repository)
    with checked_out(tree, "one", tmp_path / "base") as base:
        assert (base.directory / "file").read_text() == "one"
        assert (repository / "file").read_text() == "two"
        assert base.name == "one"
        assert not base.has_changes
    assert not (tmp_path / "base").exists()
    listed = subprocess.run(
        ["git", "-C", str(repository), "worktree", "list"], capture_output=True, text=True
    )
    assert len(listed.stdout.splitlines()) == 1


def test_uncommitted_changes_are_told_and_kept(repository: Path) -> None:
    assert not working_tree(repository).has_changes
    (repository / "file").write_text("three")
    tree = working_tree(repository / ".")
    assert tree.has_changes
    assert (tree.directory / "file").read_text() == "three"


@pytest.mark.parametrize("revision", ["no-such", "", "--help", "one two"])
def test_an_unknown_revision_is_refused_by_its_name(
    repository: Path, tmp_path: Path, revision: str
) -> None:
    with (
        pytest.raises(RevisionError, match="no revision"),
        checked_out(working_tree(repository), revision, tmp_path / "base"),
    ):
        pass
    assert not (tmp_path / "base").exists()


def test_a_directory_without_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RevisionError, match="git rev-parse failed"):
        working_tree(tmp_path)


def test_changed_files_are_those_since_the_base_was_left(repository: Path) -> None:
    (repository / "other").write_text("new")
    git(repository, "add", "other")
    assert changed_files(working_tree(repository), "one") == ("file", "other")
    assert changed_files(working_tree(repository), "two") == ("other",)


def test_without_a_common_commit_changed_files_are_those_since_the_base(repository: Path) -> None:
    git(repository, "checkout", "--orphan", "rewritten")
    (repository / "other").write_text("new")
    git(repository, "add", "other")
    git(repository, "commit", "--message", "rewritten")
    assert changed_files(working_tree(repository), "one") == ("file", "other")


def test_changed_files_of_an_unknown_base_are_refused_by_its_name(repository: Path) -> None:
    with pytest.raises(RevisionError, match="no revision 'nosuch'"):
        changed_files(working_tree(repository), "nosuch")
