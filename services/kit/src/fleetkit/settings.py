"""Settings from the environment, read once; every fault is reported at once."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_SIZE = re.compile(r"(\d+)(KiB|MiB|GiB|TiB)?")
_UNIT_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, None: 1}
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


class SettingsError(Exception):
    """Every variable that is wrong, missing or unknown, one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("wrong settings:\n" + "\n".join(f"  {fault}" for fault in faults))
        self.faults = faults


class Secret:
    """A string that prints as stars; `reveal` gives it away on purpose."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class SettingsReader:
    """Reads typed variables and collects what is wrong until `finish`.

    Every variable `NAME` may also be given as `NAME_FILE`, a path whose content, without surrounding blanks, is
    the value. An unknown variable that starts with `own_prefix` is a fault: it is most often a typing error.
    """

    def __init__(self, env: Mapping[str, str], *, own_prefix: str = "FLEET_") -> None:
        self._env = env
        self._own_prefix = own_prefix
        self._known: set[str] = set()
        self._faults: list[str] = []

    def text(self, name: str, default: str | None = None) -> str:
        return self._read(name, default, str, "")

    def optional_text(self, name: str) -> str | None:
        return self._read(name, "", str, "") or None

    def secret(self, name: str, default: str | None = None) -> Secret:
        return self._read(name, default, Secret, Secret(""))

    def optional_secret(self, name: str) -> Secret | None:
        text = self.optional_text(name)
        return Secret(text) if text else None

    def integer(self, name: str, default: int | None = None, *, minimum: int = 0) -> int:
        def parse(text: str) -> int:
            number = int(text)
            if number < minimum:
                raise ValueError(f"must be at least {minimum}")
            return number

        return self._read(name, None if default is None else str(default), parse, 0)

    def number(self, name: str, default: float, *, minimum: float) -> float:
        def parse(text: str) -> float:
            number = float(text)
            # Not-a-number is less than nothing and more than nothing.
            if not minimum <= number < math.inf:
                raise ValueError(f"must be a number of at least {minimum:g}")
            return number

        return self._read(name, str(default), parse, default)

    def size(self, name: str, default: str, *, minimum: int = 0) -> int:
        """Read a number of bytes such as `512MiB` or `2GiB`; a bare number means bytes."""

        def parse(text: str) -> int:
            match = _SIZE.fullmatch(text)
            if match is None:
                raise ValueError("must be a size such as 512MiB or 2GiB")
            size = int(match[1]) * _UNIT_BYTES[match[2]]
            if size < minimum:
                raise ValueError(f"must be at least {minimum} bytes")
            return size

        return self._read(name, default, parse, minimum)

    def flag(self, name: str, default: bool) -> bool:
        def parse(text: str) -> bool:
            if text.lower() in {"1", "true", "yes", "on"}:
                return True
            if text.lower() in {"0", "false", "no", "off"}:
                return False
            raise ValueError("must be true or false")

        return self._read(name, str(default), parse, default)

    def duration(self, name: str, default: timedelta) -> timedelta:
        """Read a span such as `500ms`, `5s`, `2m`, `1h`, `30d`; a bare number means seconds."""
        return self._read(name, f"{default.total_seconds()}s", _span, default)

    def optional_duration(self, name: str) -> timedelta | None:
        """Read a span as `duration` does; None when the variable is not set or empty."""
        return self._read(name, "", lambda text: _span(text) if text else None, None)

    def path(self, name: str, default: str | None = None) -> Path:
        return self._read(name, default, Path, Path())

    def given(self, name: str) -> bool:
        """Tell whether the variable, or its file, is set to anything."""
        self._known.add(name)
        return bool(self._env.get(name) or self._env.get(f"{name}_FILE"))

    def file_of(self, name: str) -> Path | None:
        """Return the path in `NAME_FILE`, for a value that is read again while the service runs."""
        self._known.add(name)
        file = self._env.get(f"{name}_FILE")
        return Path(file) if file else None

    def reject(self, name: str, why: str) -> None:
        """Add a fault that shows only when several variables are looked at together."""
        self._faults.append(f"{name}: {why}")

    def finish(self) -> None:
        """Raise SettingsError when anything was wrong."""
        known = self._known | {f"{name}_FILE" for name in self._known}
        unknown = sorted(name for name in self._env if name.startswith(self._own_prefix) and name not in known)
        faults = self._faults + [f"{name}: unknown variable" for name in unknown]
        if faults:
            raise SettingsError(faults)

    def _read(self, name: str, default: str | None, parse: Callable[[str], T], fallback: T) -> T:
        self._known.add(name)
        try:
            text = self._raw(name)
            if text is None:
                text = default
            if text is None:
                raise ValueError("is required")
            if not text and default is None:
                raise ValueError("is empty")
            return parse(text)
        except (ValueError, OverflowError, OSError) as error:
            # The value itself is left out: it may be a secret.
            what = "must be a number" if isinstance(error, ValueError) and "invalid literal" in str(error) else error
            self._faults.append(f"{name}: {what}")
            return fallback

    def _raw(self, name: str) -> str | None:
        file = self._env.get(f"{name}_FILE")
        if name in self._env and file is not None:
            raise ValueError(f"is given twice, also as {name}_FILE")
        if file is not None:
            return Path(file).read_text().strip()
        return self._env.get(name)


def _span(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("must be a span such as 500ms, 5s, 2m, 1h or 30d")
    return timedelta(seconds=float(match[1]) * _UNIT_SECONDS[match[2]])
