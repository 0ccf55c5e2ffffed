"""The verifier: shares only schema, contracts and the reading of keys with what it verifies."""
