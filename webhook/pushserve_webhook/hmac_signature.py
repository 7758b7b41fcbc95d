"""HMAC signature of an event: GitHub's, with the shared secret."""

from __future__ import annotations

import hashlib
import hmac


def is_signed(secret: str, body: bytes, header: str) -> bool:
    """Whether `header` (`X-Hub-Signature-256`) is the HMAC-SHA256 of the raw `body`.

    Takes the same time wherever the first wrong digit is.
    """
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    # Compared as bytes: compare_digest raises on a str that is not ASCII. A header
    # arrives as latin-1, and what does not fit there cannot be a digest.
    given = header.strip().encode("latin-1", errors="replace")
    return hmac.compare_digest(f"sha256={digest}".encode(), given)
