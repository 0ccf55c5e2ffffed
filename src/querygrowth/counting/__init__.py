"""What an action sent: engines, listeners, drivers, and the statements that they record."""
