"""The `harness` command, one file for each subcommand."""
