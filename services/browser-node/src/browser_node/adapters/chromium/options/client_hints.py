"""Client hints that go with a user agent that was asked for: a site that compares the two finds no difference.

`navigator.platform` is not among what is told: Chrome forgets it when a page moves to another process.
"""

import re

_CHROMIUM = re.compile(r"\b(?:Headless)?Chrome/(\d+)((?:\.\d+)*)")
# What a product adds to Chromium's user agent, and the brand that it goes by.
_BRANDS = (
    (re.compile(r"\bEdgA?/(\d+)((?:\.\d+)*)"), "Microsoft Edge"),
    (re.compile(r"\bOPR/(\d+)((?:\.\d+)*)"), "Opera"),
    (re.compile(r"\bHeadlessChrome/(\d+)((?:\.\d+)*)"), "HeadlessChrome"),
)
_GREASE = {"brand": "Not-A.Brand", "version": "24"}

# Every other engine's user agent, in which client hints would be the contradiction.
_NO_HINTS = re.compile(r"\b(Firefox|FxiOS|CriOS|Trident)/")

_ANDROID = re.compile(r"Android (\d+(?:\.\d+)*)(?:; ([^;)]+))?")
_MAC = re.compile(r"Mac OS X (\d+(?:[._]\d+)*)")


def client_hints(user_agent: str) -> dict[str, object] | None:
    """Return `Emulation.UserAgentMetadata` for a user agent of a Chromium browser, None for any other.

    Versions that the user agent leaves out are zeros, as Chrome's own reduced user agent has them.
    """
    chromium = _CHROMIUM.search(user_agent)
    if chromium is None or _NO_HINTS.search(user_agent):
        return None
    brand, version = "Google Chrome", chromium
    for pattern, name in _BRANDS:
        if (match := pattern.search(user_agent)) is not None:
            brand, version = name, match
    major = [
        _GREASE,
        {"brand": "Chromium", "version": chromium[1]},
        {"brand": brand, "version": version[1]},
    ]
    full = [
        {"brand": _GREASE["brand"], "version": f"{_GREASE['version']}.0.0.0"},
        {"brand": "Chromium", "version": chromium[1] + chromium[2]},
        {"brand": brand, "version": version[1] + version[2]},
    ]
    platform, platform_version, architecture, model = _platform(user_agent)
    return {
        "brands": major,
        "fullVersionList": full,
        "platform": platform,
        "platformVersion": platform_version,
        "architecture": architecture,
        "bitness": "64" if architecture == "x86" or "arm64" in user_agent else "",
        "model": model,
        "mobile": bool(re.search(r"\bMobile\b", user_agent)),
        "wow64": "WOW64" in user_agent,
    }


def _platform(user_agent: str) -> tuple[str, str, str, str]:
    """Return platform, its version, the architecture and the model of the device, where the user agent tells."""
    if (android := _ANDROID.search(user_agent)) is not None:
        return "Android", android[1], "", (android[2] or "").removesuffix(" Build").strip()
    if "CrOS" in user_agent:
        return "Chrome OS", "", "x86", ""
    if (mac := _MAC.search(user_agent)) is not None:
        return "macOS", mac[1].replace("_", "."), "x86", ""
    if "Windows NT 10.0" in user_agent:
        # Windows 10; 11 has the same user agent.
        return "Windows", "10.0.0", "x86", ""
    if "Windows" in user_agent:
        return "Windows", "0.1.0", "x86", ""
    if "Linux" in user_agent:
        return "Linux", "", "x86", ""
    return "", "", "", ""
