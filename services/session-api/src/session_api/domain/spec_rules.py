"""What a session may ask of its browser: the meaning of options, where the contract's shapes do not say it."""

import re
import zoneinfo
from collections.abc import Iterator

from fleetkit.errors import InvalidArgument
from session_api.domain.browser import BrowserSpec, BrowserTier, BrowserType
from session_api.domain.errors import OptionUnavailable
from session_api.domain.web_addresses import proxy_url_fault, start_url_fault

# They frame the request, or belong to one site and would go to every one.
_UNFIT_HEADERS = re.compile(
    r"host|content-length|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|cookie2?|set-cookie|proxy-.*"
)
# Read once, with the module: it looks through hundreds of files.
_TIMEZONES = frozenset(zoneinfo.available_timezones())
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?(-[A-Za-z0-9]{5,8})*")


def check_spec(spec: BrowserSpec, *, allow_private: bool) -> None:
    """Raise InvalidArgument for what is wrong whatever the fleet has, OptionUnavailable for what no browser can.

    Addresses in private networks are in order only with `allow_private`.
    """
    if spec == BrowserSpec(browser_type=spec.browser_type):
        return
    faults = dict(_faults(spec, allow_private))
    if faults:
        told = "; ".join(f"{field}: {fault}" for field, fault in faults.items())
        raise InvalidArgument(f"The request is not valid: {told}.", fields=faults)
    if spec.tier is BrowserTier.LEAN and spec.browser_type is not BrowserType.CHROME:
        raise OptionUnavailable(f"There is no lean tier of {spec.browser_type}.", option="tier", value=spec.tier)
    if spec.tier is BrowserTier.LEAN and spec.extensions:
        raise OptionUnavailable(
            "The lean tier takes no extensions.", option="extensions", value=", ".join(spec.extensions)
        )


def _faults(spec: BrowserSpec, allow_private: bool) -> Iterator[tuple[str, str]]:
    """Yield the fields that are wrong, and what is wrong with them."""
    if spec.locale and not _LOCALE.fullmatch(spec.locale):
        yield "spec.locale", "must be a language with at most a script, a region and variants, for example de-DE"
    if spec.timezone and spec.timezone not in _TIMEZONES:
        yield "spec.timezone", "must be a name of the IANA time zone database, for example Europe/Berlin"
    fault = start_url_fault(spec.start_url, allow_private=allow_private)
    if fault:
        yield "spec.start_url", fault
    unfit = sorted(name for name in spec.headers if _UNFIT_HEADERS.fullmatch(name.lower()))
    if unfit:
        yield "spec.headers", f"must not set {', '.join(unfit)}"
    elif len({name.lower() for name in spec.headers}) < len(spec.headers):
        yield "spec.headers", "must name each header once, in whatever case"
    if spec.proxy is not None:
        fault = proxy_url_fault(spec.proxy.url, allow_private=allow_private)
        if fault:
            yield "spec.proxy.url", fault
        if spec.proxy_location:
            yield "spec.proxy", "must not stand beside proxy_location"
