"""TokenRecorder: record source rows, and tokens with their parents."""

from collections.abc import Sequence

from sqlalchemy import select

from elspeth.contracts.errors import MAX_INTEGER, RecordingError
from elspeth.contracts.models import Row, Token, TokenParent
from elspeth.core.canonical import stable_hash
from elspeth.core.landscape.schema import (
    nodes_table,
    rows_table,
    runs_table,
    token_parents_table,
    tokens_table,
)
from elspeth.core.landscape.store.references import Reference
from elspeth.core.landscape.store.writer import LandscapeWriter, insert_models


class TokenRecorder(LandscapeWriter):
    """Writes rows, tokens and token parents."""

    def create_row(
        self,
        run_id: str,
        source_node_id: str,
        row_index: int,
        data: object,
        *,
        row_id: str | None = None,
        payload_ref: str | None = None,
    ) -> Row:
        """Record a source row by the hash of its data.

        Args:
            run_id: The run.
            source_node_id: The source that read the row.
            row_index: The index of the row, unique in the run.
            data: The data; only its hash is stored.
            row_id: The id, or None for a new one.
            payload_ref: A reference to the data, if it is kept elsewhere.
        """
        row = Row(
            row_id=row_id or self._new_id(),
            run_id=run_id,
            source_node_id=source_node_id,
            row_index=row_index,
            source_data_hash=stable_hash(data),
            created_at=self._clock(),
            source_data_ref=payload_ref,
        )
        self._insert(
            rows_table, row, Reference(runs_table, run_id), Reference(nodes_table, source_node_id)
        )
        return row

    def create_token(
        self,
        row_id: str,
        *,
        token_id: str | None = None,
        branch_name: str | None = None,
        fork_group_id: str | None = None,
        join_group_id: str | None = None,
    ) -> Token:
        """Record a token without a parent token.

        Args:
            row_id: The row.
            token_id: The id, or None for a new one.
            branch_name: The branch, if the token takes one.
            fork_group_id: The fork, if the token belongs to one.
            join_group_id: The join, if the token belongs to one.

        Raises:
            RecordingError: The token would be the child of a fork and the result of a join.
        """
        if fork_group_id is not None and join_group_id is not None:
            raise RecordingError(
                f"A token comes from a fork or from a join, not from both: fork group "
                f"{fork_group_id!r} and join group {join_group_id!r} were given"
            )
        token = Token(
            token_id=token_id or self._new_id(),
            row_id=row_id,
            created_at=self._clock(),
            fork_group_id=fork_group_id,
            join_group_id=join_group_id,
            branch_name=branch_name,
        )
        self._insert(tokens_table, token)
        return token

    def fork_token(
        self,
        parent_token_id: str,
        row_id: str,
        branches: Sequence[str],
        *,
        step_in_pipeline: int | None = None,
    ) -> list[Token]:
        """Record a child for every branch, in one transaction.

        Args:
            parent_token_id: The token that forks.
            row_id: The row of the token.
            branches: The names of the branches, in order.
            step_in_pipeline: The step at which it forks, if known.

        Raises:
            RecordingError: The row is not that of the token, or the branches are one text.
        """
        if isinstance(branches, str | bytes):
            # Its letters would become branches.
            raise RecordingError(f"The branches of a fork are a list of names, not {branches!r}")
        fork_group_id = self._new_id()
        children = [
            Token(
                token_id=self._new_id(),
                row_id=row_id,
                created_at=self._clock(),
                fork_group_id=fork_group_id,
                branch_name=branch,
                step_in_pipeline=step_in_pipeline,
            )
            for branch in branches
        ]
        self._insert_children(children, parent_token_id, row_id)
        return children

    def expand_token(
        self, parent_token_id: str, row_id: str, count: int, step_in_pipeline: int
    ) -> list[Token]:
        """Record the children of a token that becomes several, in one transaction.

        Args:
            parent_token_id: The token.
            row_id: Its row.
            count: How many children.
            step_in_pipeline: The step at which it expands.

        Raises:
            ValueError: The count is below 1.
            RecordingError: The row is not that of the token.
        """
        # A bool is an int, and a count past the largest integer of a database fills the memory.
        if type(count) is not int or not 1 <= count <= MAX_INTEGER:
            raise ValueError(f"A token expands into at least 1 token, not {count!r}")
        expand_group_id = self._new_id()
        children = [
            Token(
                token_id=self._new_id(),
                row_id=row_id,
                created_at=self._clock(),
                expand_group_id=expand_group_id,
                step_in_pipeline=step_in_pipeline,
            )
            for _ in range(count)
        ]
        self._insert_children(children, parent_token_id, row_id)
        return children

    def coalesce_tokens(
        self,
        parent_token_ids: Sequence[str],
        row_id: str,
        *,
        step_in_pipeline: int | None = None,
    ) -> Token:
        """Record the token that several tokens become, in one transaction.

        Args:
            parent_token_ids: The tokens, in order.
            row_id: The row of the new token.
            step_in_pipeline: The step at which they join, if known.

        Raises:
            RecordingError: There are no tokens, or they belong to another run than the row.
        """
        if not parent_token_ids:
            raise RecordingError(
                f"A join needs at least 1 token, but none was given: row {row_id!r}"
            )
        joined = Token(
            token_id=self._new_id(),
            row_id=row_id,
            created_at=self._clock(),
            join_group_id=self._new_id(),
            step_in_pipeline=step_in_pipeline,
        )
        parents = [
            TokenParent(joined.token_id, parent_token_id, ordinal)
            for ordinal, parent_token_id in enumerate(parent_token_ids)
        ]
        self._insert_all(
            {tokens_table: [joined], token_parents_table: parents},
            [
                Reference(rows_table, row_id),
                *(Reference(tokens_table, parent) for parent in parent_token_ids),
            ],
        )
        return joined

    def _insert_children(
        self, children: Sequence[Token], parent_token_id: str, row_id: str
    ) -> None:
        parents = [
            TokenParent(child.token_id, parent_token_id, ordinal)
            for ordinal, child in enumerate(children)
        ]
        with self._db.connection() as connection:
            # A child is the same source row as its parent; only a join mixes rows.
            token = tokens_table.c
            row_of_parent = select(token.row_id).where(token.token_id == parent_token_id)
            stored = connection.scalar(row_of_parent)
            if stored not in (None, row_id):
                raise RecordingError(
                    f"token {parent_token_id!r} belongs to row {stored!r}, not to {row_id!r}"
                )
            insert_models(connection, {tokens_table: children, token_parents_table: parents})
