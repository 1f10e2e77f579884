"""What the operator says about the captcha solver."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from browser_node.adapters.captcha.challenge import ChallengeKind
from fleetkit.rpc.tls import is_loopback
from fleetkit.settings import Secret, SettingsReader

_SOLVER, _KEY = "FLEET_CAPTCHA_SOLVER", "FLEET_CAPTCHA_SOLVER_KEY"
_TASK_TYPES = "FLEET_CAPTCHA_SOLVER_TASK_TYPES"
_OFFLINE = "offline"

# The names that most services share.
DEFAULT_TASK_TYPES: Mapping[ChallengeKind, str] = {
    ChallengeKind.IMAGE: "ImageToTextTask",
    ChallengeKind.RECAPTCHA_V2: "RecaptchaV2TaskProxyless",
    ChallengeKind.HCAPTCHA: "HCaptchaTaskProxyless",
    ChallengeKind.TURNSTILE: "TurnstileTaskProxyless",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverSettings:
    """How captchas are solved. `url` is None where image captchas alone are, without a service.

    `patience` is what a Turnstile gets to pass by itself before anybody is paid for it.
    """

    url: str | None
    key: Secret
    task_types: Mapping[ChallengeKind, str]
    poll_interval: timedelta
    timeout: timedelta
    tasks_per_session: int
    patience: timedelta = timedelta(seconds=5)


def read_captcha_solver(reader: SettingsReader) -> SolverSettings | None:
    """Read FLEET_CAPTCHA_SOLVER and what belongs to it; None when it is not set. Faults go to the reader's others."""
    solver = reader.optional_text(_SOLVER)
    key = reader.optional_secret(_KEY)
    settings = SolverSettings(
        url=None if solver in {None, _OFFLINE} else str(solver).rstrip("/"),
        key=key or Secret(""),
        task_types={**DEFAULT_TASK_TYPES, **_task_types(reader)},
        poll_interval=reader.duration("FLEET_CAPTCHA_SOLVER_POLL_INTERVAL", timedelta(seconds=3)),
        timeout=reader.duration("FLEET_CAPTCHA_SOLVER_TIMEOUT", timedelta(minutes=2)),
        tasks_per_session=reader.integer("FLEET_CAPTCHA_SOLVER_TASKS_PER_SESSION", 20, minimum=1),
    )
    if settings.url is not None:
        _check_service(reader, settings.url, keyed=key is not None)
    elif key is not None:
        reader.reject(_KEY, f"is of no use without the address of a service in {_SOLVER}")
    return None if solver is None else settings


def _check_service(reader: SettingsReader, url: str, *, keyed: bool) -> None:
    try:
        parts = urlsplit(url)
        address = f"{parts.hostname}:{parts.port or 0}"
    except ValueError:
        parts, address = urlsplit(""), ""
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment or parts.username:
        reader.reject(_SOLVER, f"must be {_OFFLINE}, or a URL such as https://solver.example")
    elif parts.scheme == "http" and not is_loopback(address) and not reader.flag("FLEET_ALLOW_PLAINTEXT", False):
        reader.reject(_SOLVER, "the key would leave this machine in plaintext: use https")
    if not keyed:
        reader.reject(_KEY, f"is required beside {_SOLVER}")


def _task_types(reader: SettingsReader) -> dict[ChallengeKind, str]:
    """Read pairs such as `recaptcha-v2=ReCaptchaV2TaskProxyLess,turnstile=AntiTurnstileTaskProxyLess`."""
    types: dict[ChallengeKind, str] = {}
    for pair in (reader.optional_text(_TASK_TYPES) or "").split(","):
        kind, _, name = pair.strip().partition("=")
        if kind in set(ChallengeKind) and name:
            types[ChallengeKind(kind)] = name
        elif pair.strip():
            reader.reject(_TASK_TYPES, f"must be pairs of {', '.join(ChallengeKind)} and a task type, as kind=Type")
    return types
