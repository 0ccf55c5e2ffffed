"""Growing: how counts follow the size of the data, and what was agreed about that."""
