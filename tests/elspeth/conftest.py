"""Fixtures for all tests of the audited system."""

from shared_statements import shared_statements

__all__ = ["shared_statements"]
