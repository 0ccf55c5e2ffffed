"""The export that follows a pipeline run, its status, and the repair of pending ones."""
