"""Extensions of browsers: those that the node knows by name, and how they come into a session's browser."""
