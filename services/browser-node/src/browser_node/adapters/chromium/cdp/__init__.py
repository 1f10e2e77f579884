"""Many CDP clients on the one pipe of a browser, and what they may say."""
