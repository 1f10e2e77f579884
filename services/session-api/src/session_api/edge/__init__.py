"""The HTTP side: discovery and attaching by session ID."""
