"""Records source rows and the tokens they travel as: forked, joined, expanded."""

from collections.abc import Sequence

from elspeth.contracts.models import Row, Token, TokenParent
from elspeth.core.canonical import stable_hash
from elspeth.core.landscape.schema import rows_table, token_parents_table, tokens_table
from elspeth.core.landscape.store.writer import LandscapeWriter


class TokenRecorder(LandscapeWriter):
    """Writes rows, tokens and their parents."""

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
        """Record a source row by the hash of its data, and where the data itself is kept."""
        row = Row(
            row_id=row_id or self._new_id(),
            run_id=run_id,
            source_node_id=source_node_id,
            row_index=row_index,
            source_data_hash=stable_hash(data),
            created_at=self._clock(),
            source_data_ref=payload_ref,
        )
        self._insert(rows_table, row)
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
        """Record a token of a row that comes from no other token."""
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
        """Record one child for each branch, in their order, in one transaction."""
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
        self._insert_children(children, parent_token_id)
        return children

    def expand_token(
        self, parent_token_id: str, row_id: str, count: int, step_in_pipeline: int
    ) -> list[Token]:
        """Record `count` children of a token that became several, in one transaction.

        ValueError for a count below 1.
        """
        if count < 1:
            raise ValueError(f"A token expands into at least 1 token, not {count}")
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
        self._insert_children(children, parent_token_id)
        return children

    def coalesce_tokens(
        self,
        parent_token_ids: Sequence[str],
        row_id: str,
        *,
        step_in_pipeline: int | None = None,
    ) -> Token:
        """Record the token that several became, with its parents in order, in one transaction."""
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
        self._insert_all({tokens_table: [joined], token_parents_table: parents})
        return joined

    def _insert_children(self, children: Sequence[Token], parent_token_id: str) -> None:
        parents = [
            TokenParent(child.token_id, parent_token_id, ordinal)
            for ordinal, child in enumerate(children)
        ]
        self._insert_all({tokens_table: children, token_parents_table: parents})
