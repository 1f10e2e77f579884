"""What keeps a browser in its place: control groups, walls, managed policy."""
