"""Write exports to disk, complete or not at all, without knowledge of fields, order or signing."""
