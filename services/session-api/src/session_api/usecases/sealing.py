"""Secrets of sessions: readable for the node that starts the browser, and nowhere on the way there."""

import json
from dataclasses import asdict

from fleetkit.sealing import NotSealedHere, SecretBox
from session_api.domain.browser import SpecSecrets
from session_api.domain.errors import BrowserStartFailed
from session_api.domain.identifiers import OrganizationId
from session_api.domain.session import Session


class SecretSealing:
    """Seals for an organization. Whoever has the fleet's secret can open."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    def seal(self, secrets: SpecSecrets, organization_id: OrganizationId) -> str:
        """Return what may be stored; empty where there is no secret."""
        return self._box.seal(_text(secrets), purpose=_purpose(organization_id)) if secrets else ""

    def fingerprint(self, secrets: SpecSecrets) -> str:
        """Return what tells these secrets from others; empty where there is none."""
        return self._box.fingerprint(_text(secrets)) if secrets else ""

    def open(self, session: Session) -> SpecSecrets:
        """Return the secrets of a session that has not ended. Raises BrowserStartFailed."""
        if not session.sealed_secrets:
            return SpecSecrets()
        try:
            text = self._box.open(session.sealed_secrets, purpose=_purpose(session.organization_id))
        except NotSealedHere as error:
            raise BrowserStartFailed("The fleet's key has changed since the session's secrets were stored.") from error
        return SpecSecrets(**json.loads(text))


def _text(secrets: SpecSecrets) -> bytes:
    return json.dumps(asdict(secrets), sort_keys=True).encode()


def _purpose(organization_id: OrganizationId) -> str:
    return f"secrets of a session of {organization_id}"
