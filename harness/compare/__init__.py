"""Compare the exports of two exporters, to the byte."""
