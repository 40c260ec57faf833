"""What every route answers with: JSON, and every error as one object with one clear line."""

from pathlib import Path
from typing import Any

import msgspec
from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

STATIC = Path(__file__).resolve().parent / "static"
LONGEST_BODY = 4096  # bytes of what is posted


def answer(content: Any, status: int = 200) -> Response:
    """`content` as JSON."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def failed(text: str, status: int, **more: Any) -> Response:
    """An error as the page and scripts read it."""
    return answer({"error": text, **more}, status)


async def small_body(request: Request) -> bytes:
    """The body of a request, where it is small; raises HTTPException 413 else."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise HTTPException(413, f"the body is longer than {LONGEST_BODY} bytes")
    return body
