"""The `landscape` command."""
