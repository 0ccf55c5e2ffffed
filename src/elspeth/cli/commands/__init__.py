"""The commands of `landscape`, a module for each, imported when the command runs."""
