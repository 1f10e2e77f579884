"""The folder that holds everything a stack keeps, for one stack at a time."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from local_stack.files import private_folder, read_json, write_private


class StateTaken(Exception):
    """Another stack runs on the folder."""


def default_state_dir() -> Path:
    """Return `.local-stack` at the top of the checkout that this package is installed from, else where we are."""
    checkout = Path(__file__).resolve().parents[4]
    top = checkout if (checkout / "requirements.lock").exists() else Path.cwd()
    return top / ".local-stack"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths below the folder. Nothing in it is readable for other users."""

    root: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def description(self) -> Path:
        """The file that tells clients where the stack is."""
        return self.root / "stack.json"

    @property
    def private_key(self) -> Path:
        return self.root / "secrets" / "token-private.pem"

    @property
    def public_key(self) -> Path:
        return self.root / "secrets" / "token-public.pem"

    def api_key(self, scope: str) -> Path:
        return self.root / "secrets" / f"{scope}.key"

    def server(self, name: str) -> Path:
        return self.root / name

    def node(self, name: str) -> Path:
        return self.root / "nodes" / name

    def previous_ports(self) -> dict[str, int]:
        ports = read_json(self.description).get("ports")
        if not isinstance(ports, dict):
            return {}
        return {str(name): port for name, port in ports.items() if isinstance(port, int)}

    def describe(self, content: Mapping[str, object]) -> None:
        write_private(self.description, json.dumps(content, indent=2) + "\n")

    def make_token_keys(self) -> None:
        """Make the Ed25519 pair that signs and checks tokens, unless it is there."""
        if self.private_key.exists() and self.public_key.exists():
            return
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_private(self.private_key, private.decode())
        write_private(self.public_key, public.decode())


@contextlib.contextmanager
def claimed(root: Path) -> Iterator[StateFolder]:
    """Hold the folder within the block. Raises StateTaken while another stack holds it."""
    private_folder(root)
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise StateTaken(
                f"a stack (process {pid}) already runs on {root}; stop it, or choose another folder with --state-dir"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        folder = StateFolder(root)
        for sub in (folder.logs, folder.private_key.parent):
            private_folder(sub)
        yield folder
    finally:
        os.close(descriptor)
