"""The audit trail in the database: what the recorder writes, and the entities that it reads."""
