"""Put valid rows into the tables of any schema, and let them grow.

`fill` is the main flow, `fill_tables`: find the tables (`user_tables`), read what the database
demands of them (`rule_reader`), decide their order and rows (`fill_plan`), make rows that satisfy
the rules (`row_values`, `column_values`), and insert them in batches (`table_fill`).
`filled_axes` makes axes of tables for a growth measurement.
"""

from querygrowth.tables.fill import fill_tables
from querygrowth.tables.fill_report import Filled, FillError
from querygrowth.tables.filled_axes import FilledAxes, filled_axes

__all__ = ["FillError", "Filled", "FilledAxes", "fill_tables", "filled_axes"]
