"""What a client may say to its browser.

A CDP client is a shell on the browser's user: it could send files of the machine into a page, move downloads to
where nobody looks, load extensions, or end the browser that others use. `RULES` says, method by method, what happens
instead; what is not in it passes. `Page.crash` does: it takes down one page of the session, which goes on.

The filter cannot be got around by the way a message is written, because what Chrome receives is never what the client
sent: the multiplexer decodes `id`, `method` and `sessionId` with a strict parser (escapes resolved, of duplicate keys
the last one taken, comments and NUL bytes refused) and writes a message of its own from them. `params` of a method
without a rule are copied as they are, which is safe because their meaning plays no part here; `params` of a method
with a rule are decoded whole and written anew, so that Chrome reads the very values that the rule saw.
"""

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

Params = dict[str, object]

# A message may wrap another for a target; nobody needs more than one level.
_MAX_NESTING = 9
# The URL parser of browsers drops these wherever they stand, and strips blanks and controls at both ends.
_DROPPED_IN_URLS = re.compile(r"[\t\n\r]")
_STRIPPED_AROUND_URLS = "".join(map(chr, range(0x21)))


@dataclass(frozen=True, slots=True)
class SessionFolders:
    """Folders of a session that clients' commands may name."""

    downloads: Path
    uploads: Path


@dataclass(frozen=True, slots=True)
class Forward:
    """Send it to the browser with these parameters."""

    params: Params


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with an empty result in the browser's place; `leave` ends the client's stay after that."""

    leave: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with CDP error -32000."""

    message: str


Verdict = Forward | Answer | Refuse
Rule = Callable[[Params, SessionFolders], Verdict]


class WrappedCommand(msgspec.Struct, omit_defaults=True):
    """A command inside `Target.sendMessageToTarget`."""

    id: int
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    sessionId: str | None = None  # noqa: N815  # the protocol's name


def rule_for(method: str) -> Rule | None:
    """Return the rule of a method, None when it passes."""
    return RULES.get(method) or (_denied if method.startswith(_DENIED_DOMAINS) else None)


def review(rule: Rule, params: bytes, folders: SessionFolders) -> Verdict:
    """Apply a rule to a command's parameters as they came."""
    try:
        decoded = msgspec.json.decode(params, type=Params)
    except (msgspec.DecodeError, RecursionError):
        return Refuse("Parameters must be an object.")
    return rule(decoded, folders)


def _denied(params: Params, folders: SessionFolders) -> Verdict:
    return Refuse("This method is not available to clients of a browser session.")


def _set_download_behavior(params: Params, folders: SessionFolders) -> Verdict:
    """Clients name folders of their own machine; files go where the node finds them, under names it can trust."""
    rewritten: Params = {"behavior": "allowAndName", "downloadPath": str(folders.downloads), "eventsEnabled": True}
    if "browserContextId" in params:
        rewritten["browserContextId"] = params["browserContextId"]
    return Forward(rewritten)


def _page_set_download_behavior(params: Params, folders: SessionFolders) -> Verdict:
    """The page's form of the command cannot name files by GUID. The node's own setting holds for every page."""
    return Answer()


def _close(params: Params, folders: SessionFolders) -> Verdict:
    """A client that closes its browser leaves; the browser is the session's."""
    return Answer(leave=True)


def _navigate(params: Params, folders: SessionFolders) -> Verdict:
    url = params.get("url")
    # Left out it means that the address stays, or a blank page.
    if url is None or is_page_url(url):
        return Forward(params)
    return Refuse("Cannot navigate to invalid URL" if _scheme_of(url) == "" else _NO_SUCH_PAGE)


def _freeze(params: Params, folders: SessionFolders) -> Verdict:
    """A page that was frozen stays hidden when it is active again, and everybody shares it."""
    if params.get("state") == "active":
        return Forward(params)
    return Refuse("Pages of a browser session cannot be frozen: that could not be taken back.")


def _stop_clock(params: Params, folders: SessionFolders) -> Verdict:
    return Refuse("Pages of a browser session have no virtual time: it could not be taken back.")


def _trace(params: Params, folders: SessionFolders) -> Verdict:
    """Traces of the browser, not of the machine."""
    return Forward({key: value for key, value in params.items() if key not in {"tracingBackend", "perfettoConfig"}})


def _create_browser_context(params: Params, folders: SessionFolders) -> Verdict:
    if params.get("proxyServer"):
        return Refuse("A context cannot have a proxy of its own: the session has one.")
    return Forward(params)


def _set_file_input_files(params: Params, folders: SessionFolders) -> Verdict:
    if _all_within(params.get("files", []), folders.uploads):
        return Forward(params)
    return Refuse("Only files of the session's upload folder can be given to a page.")


def _dispatch_drag_event(params: Params, folders: SessionFolders) -> Verdict:
    data = params.get("data")
    files = data.get("files", []) if isinstance(data, dict) else []
    if _all_within(files, folders.uploads):
        return Forward(params)
    return Refuse("Only files of the session's upload folder can be dropped on a page.")


def _send_message_to_target(params: Params, folders: SessionFolders, depth: int = 0) -> Verdict:
    """Judge the command inside, and write it anew, for the reasons that the module's head gives."""
    if depth >= _MAX_NESTING:
        return Refuse("Messages are nested too deeply.")
    try:
        inner = msgspec.json.decode(str(params.get("message", "")), type=WrappedCommand)
    except (msgspec.DecodeError, RecursionError):
        return Refuse("The wrapped message must be a CDP command.")
    if inner.sessionId is not None:
        return Refuse("A wrapped message cannot name a session.")
    rule = rule_for(inner.method)
    if rule is not None:
        if inner.method == "Target.sendMessageToTarget":
            verdict = review(lambda p, f: _send_message_to_target(p, f, depth + 1), bytes(inner.params), folders)
        else:
            verdict = review(rule, bytes(inner.params), folders)
        if isinstance(verdict, Refuse):
            return verdict
        if isinstance(verdict, Answer):
            return Refuse(f"{inner.method} is not available inside a wrapped message.")
        inner.params = msgspec.Raw(msgspec.json.encode(verdict.params))
    return Forward({**params, "message": msgspec.json.encode(inner).decode()})


def innermost_method(method: str, params: bytes) -> str:
    """Return the method that a command comes down to when it wraps another; empty when it wraps nothing good."""
    for _ in range(_MAX_NESTING + 1):
        if method != "Target.sendMessageToTarget":
            return method
        try:
            wrapped = msgspec.json.decode(params, type=Params)
            inner = msgspec.json.decode(str(wrapped.get("message", "")), type=WrappedCommand)
        except (msgspec.DecodeError, RecursionError):
            return ""
        method, params = inner.method, bytes(inner.params)
    return ""


def is_page_url(url: object) -> bool:
    """Tell whether a URL leads to the web or to nothing, by what a browser makes of it.

    Everything else is refused: the machine's files, and the browser's own pages, which can crash it, change its
    settings, or read files (`devtools:` can).
    """
    scheme = _scheme_of(url)
    if scheme == "about":
        return _bare(url) in _ABOUT_PAGES
    return scheme in _PAGE_SCHEMES or (scheme is not None and _bare(url) == "")


def _scheme_of(url: object) -> str | None:
    """Return the scheme that counts, empty where there is none; None for what is no text."""
    if not isinstance(url, str):
        return None
    scheme, colon, _ = _bare(url).partition(":")
    return scheme if colon else ""


def _bare(url: object) -> str:
    """Return a URL as the parser of browsers reads it, without what wraps another one."""
    text = _DROPPED_IN_URLS.sub("", str(url).strip(_STRIPPED_AROUND_URLS)).lower()
    while text.startswith(_WRAPPERS):
        text = text.partition(":")[2].lstrip(_STRIPPED_AROUND_URLS)
    return text.partition("#")[0] if text.startswith("about:") else text


def _all_within(paths: object, folder: Path) -> bool:
    if not isinstance(paths, list):
        return False
    prefix = f"{folder}/"
    return all(isinstance(path, str) and posixpath.normpath(path).startswith(prefix) for path in paths)


_NO_SUCH_PAGE = "Only pages of the web can be opened in a browser session, no files and no pages of the browser."
_WRAPPERS = ("view-source:", "filesystem:")
_PAGE_SCHEMES = frozenset({"http", "https", "data", "blob", "javascript", "chrome-extension"})
_ABOUT_PAGES = frozenset({"about:blank", "about:srcdoc"})

_DENIED_DOMAINS = ("Cast.", "Extensions.", "PWA.", "SystemInfo.", "Tethering.")

RULES: Mapping[str, Rule] = {
    "Browser.setDownloadBehavior": _set_download_behavior,
    "Page.setDownloadBehavior": _page_set_download_behavior,
    "Browser.close": _close,
    "Browser.crash": _denied,
    "Browser.crashGpuProcess": _denied,
    "Browser.executeBrowserCommand": _denied,
    "Browser.getBrowserCommandLine": _denied,
    "Target.setRemoteLocations": _denied,
    "Target.exposeDevToolsProtocol": _denied,
    "Target.openDevTools": _denied,
    "Target.createBrowserContext": _create_browser_context,
    "Target.createTarget": _navigate,
    "Page.navigate": _navigate,
    "Network.continueInterceptedRequest": _navigate,
    "Network.loadNetworkResource": _navigate,
    "Fetch.continueRequest": _navigate,
    "Page.setWebLifecycleState": _freeze,
    "Emulation.setVirtualTimePolicy": _stop_clock,
    "Tracing.start": _trace,
    "DOM.setFileInputFiles": _set_file_input_files,
    "Input.dispatchDragEvent": _dispatch_drag_event,
    "Target.sendMessageToTarget": _send_message_to_target,
}
