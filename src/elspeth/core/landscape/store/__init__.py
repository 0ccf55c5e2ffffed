"""The audit trail in the database: the recorder that writes it and the reader that reads it."""
