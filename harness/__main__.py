"""`python -m harness`: the `harness` command."""

from landscape_start import harness

harness()
