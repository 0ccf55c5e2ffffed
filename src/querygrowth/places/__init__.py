"""Where a statement came from: lines of the user's code, and the loads of the ORM."""
