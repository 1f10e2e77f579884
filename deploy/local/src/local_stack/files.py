"""Files of the state folder: private, and written whole or not at all."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, unless it is there."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner may read; a reader sees the old content or the new."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return fresh.replace(path)


def kept_secret(path: Path) -> str:
    """Return the secret in a file, made at the first call: 32 hexadecimal digits."""
    if not path.exists():
        write_private(path, secrets.token_hex(16))
    return path.read_text().strip()


def read_json(path: Path) -> Mapping[str, object]:
    """Return the object in a JSON file, or an empty one when it is missing or damaged."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
