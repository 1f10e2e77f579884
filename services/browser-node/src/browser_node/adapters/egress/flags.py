"""Command-line flags that leave a browser no way out but its own port of the forwarder."""


def egress_flags(port: int) -> list[str]:
    """Return the flags of a browser that is born pointing at this port."""
    return [
        f"--proxy-server=http://127.0.0.1:{port}",
        # Loopback pages too: without this the browser reaches them, and every server of the node, by itself.
        "--proxy-bypass-list=<-loopback>",
        # WebRTC only by what the proxy carries, which is no UDP. The full browser knows the first form, the lean
        # shell the second; each ignores the other's.
        "--webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--disable-quic",
        # Names are resolved by the forwarder alone: the browser's own resolver, and with it prefetch and DNS over
        # HTTPS, knows none.
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ]
