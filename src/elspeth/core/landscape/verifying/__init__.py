"""The parts of the verifier: what an export may hold, how it is read, and how it is checked."""
