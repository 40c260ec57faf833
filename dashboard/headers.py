"""The outermost layer of the app: Host check and security headers, as plain ASGI so that streams pass untouched."""

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.access import host_allowed

# The chart library adds one constant <style> for its logo; a test computes this hash from the vendored file.
CHART_STYLE_HASH = "sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY="

CSP = "; ".join(
    (
        "default-src 'self'",
        f"style-src 'self' '{CHART_STYLE_HASH}'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
CACHED = b"no-cache"  # the browser keeps the files and asks whether they changed


class Guard:
    """Refuses foreign Hosts with 421 and adds the headers to every answer."""

    def __init__(self, app: ASGIApp, machine: str, allowed_hosts: tuple[str, ...]) -> None:
        self.app = app
        self.machine = machine
        self.allowed = frozenset(name.lower().rstrip(".") for name in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {key for key, _ in message["headers"]}
                extra = [pair for pair in HEADERS if pair[0] not in known]
                if b"cache-control" not in known:
                    extra.append((b"cache-control", CACHED if _is_file(scope["path"]) else b"no-store"))
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        hosts = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
        if len(hosts) == 1 and host_allowed(hosts[0], self.machine, self.allowed):
            await self.app(scope, receive, guarded)
            return
        body = json.dumps({"error": _refusal(hosts)}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await guarded({"type": "http.response.start", "status": 421, "headers": headers})
        await guarded({"type": "http.response.body", "body": body})


def _is_file(path: str) -> bool:
    return path in ("/", "/login") or path.startswith("/static/")


def _refusal(hosts: list[str]) -> str:
    if len(hosts) != 1:
        return f"{len(hosts)} Host headers; send exactly one"
    return (
        f"Host {hosts[0][:100]!r} is not a name of this machine: use localhost, its address or its name, "
        "or put the name into ALLOWED_HOSTS"
    )
