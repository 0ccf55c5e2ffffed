"""The parts of the recorder: read and write the entities of the audit trail in the database."""
