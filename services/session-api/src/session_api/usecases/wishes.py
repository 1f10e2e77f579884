"""What callers ask of browsers, before anything is stored of it."""

from dataclasses import replace

from session_api.domain.browser import SpecSecrets
from session_api.domain.caller import Caller
from session_api.domain.spec_rules import check_spec
from session_api.usecases.admission import NewSession
from session_api.usecases.sealing import SecretSealing


class Wishes:
    """Checks what a session asks, and seals what of it is secret."""

    def __init__(self, *, sealing: SecretSealing, allow_private_urls: bool) -> None:
        self._sealing = sealing
        self._allow_private_urls = allow_private_urls

    def accepted(self, caller: Caller, request: NewSession) -> NewSession:
        """Return the request as it may be stored: from here on nobody reads its secrets but the node.

        Raises InvalidArgument, OptionUnavailable.
        """
        check_spec(request.spec, allow_private=self._allow_private_urls)
        if not request.secrets:
            return request
        return replace(
            request,
            secrets=SpecSecrets(),
            sealed_secrets=self._sealing.seal(request.secrets, caller.organization_id),
            secrets_fingerprint=self._sealing.fingerprint(request.secrets),
        )
