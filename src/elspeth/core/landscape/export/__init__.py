"""The batched exporter: one ordered query per table, merged, encoded and signed."""
