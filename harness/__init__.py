"""The harness: drives exporters over generated runs, counts, compares, times and judges them."""
