"""A session's own copy of an extension.

Chrome writes the index of an extension's network rules into its folder at each load, and silently does not load it
where it cannot. So the folders are the browser's; the files are links to the node's, which it can only read.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from pathlib import Path


def place_copy(extension: Path, target: Path, user: int | None) -> None:
    """Make `target`, in a browser's folder, a copy of `extension` that the browser can load. Blocks. Raises OSError."""
    # Put together beside the original, where the browser's user cannot interfere, and moved there whole.
    with tempfile.TemporaryDirectory(dir=extension.parent) as place:
        copy = Path(place, "copy")
        shutil.copytree(extension, copy, copy_function=_link)
        _give_folders(copy, user)
        try:
            copy.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copytree(copy, target)
            _give_folders(target, user)


def _link(source: str, target: str) -> None:
    """Link a file; copy it where links are not to be had, or used up."""
    try:
        os.link(source, target)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            Path(target).unlink()
        shutil.copy(source, target)


def _give_folders(top: Path, user: int | None) -> None:
    for parent, _, _ in os.walk(top):
        Path(parent).chmod(0o700)
        if user is not None:
            os.chown(parent, user, user, follow_symlinks=False)
