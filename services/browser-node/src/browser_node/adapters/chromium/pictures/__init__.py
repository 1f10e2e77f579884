"""One source of pictures for the live view and the recording."""
