"""The core of the pipeline."""
