"""What the head of a JPEG picture says."""


def jpeg_size(jpeg: bytes) -> tuple[int, int]:
    """Return width and height from a JPEG's frame header. Raises ValueError when there is none."""
    position = 2
    while position + 9 <= len(jpeg):
        if jpeg[position] != 0xFF:
            break
        marker, length = jpeg[position + 1], int.from_bytes(jpeg[position + 2 : position + 4])
        # SOF0 to SOF15 are frame headers, but for DHT, JPG and DAC among them.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[position + 7 : position + 9]), int.from_bytes(jpeg[position + 5 : position + 7])
        position += 2 + length
    raise ValueError("this is no JPEG picture")
