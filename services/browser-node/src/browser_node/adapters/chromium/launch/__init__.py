"""Which browsers there are, and how one comes to a session: warm or cold."""
