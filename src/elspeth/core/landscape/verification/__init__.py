"""The verifier: shares only contracts and the reading of keys with what it verifies."""
