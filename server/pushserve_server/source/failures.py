"""Git failures: what git's error output means for the caller."""

from __future__ import annotations

import re
from typing import Final

from pushserve_server.errors import DeploymentFailed, Unavailable
from pushserve_server.source.command import GitFailed, OutOfTime, TooMuchOutput
from pushserve_server.source.urls import shown

_CAUSES: Final = {
    "COMMIT_NOT_FOUND": (
        "not our ref",
        "unadvertised object",
        "no such remote ref",
        "couldn't find remote ref",
    ),
    "REPOSITORY_TOO_LARGE": (
        "died of signal 25",
        "File size limit exceeded",
        "File too large",
    ),
    # What the remote's git says of its own objects; the same words without "remote: " would be
    # about the local copy, which is fetched anew.
    "REPOSITORY_CORRUPT": (
        "fsck error",
        "in packed object",
        "pack has bad object",
        "serious inflate inconsistency",
        r"died of signal (?:6|7|11)\b",  # folders nested deeper than git's stack
        "remote: (?:fatal|error): (?:bad tree object|too-short tree|malformed mode|empty filename)",
        r"remote: (?:fatal|error): unable to (?:read|unpack) [0-9a-f]{40}\b",
        "remote: error: (?:Object [0-9a-f]{40} not a |inflate: |corrupt loose object)",
        r"remote: fatal: loose object \S+ \(.*\) is corrupt",
        r"remote: error: object file \S+ is empty",
    ),
    "REDIRECTED": (r"returned error: 30\d", "redirect"),
    "DUBIOUS_OWNERSHIP": ("dubious ownership",),
    "UNKNOWN_HOST_KEY": ("Host key verification failed",),
    "SERVER_DISK_FULL": ("No space left on device", "Disk quota exceeded"),
    "REPOSITORY_NOT_FOUND": (
        "repository '.*' not found",
        "Repository not found",
        "does not appear to be a git repository",
        "not valid: is this a git repository",
        "project you were looking for could not be found",
        "Authentication failed",
        "could not read (?:Username|Password)",
        r"Permission denied \(",
        "Permission to .* denied",
        r"returned error: (?:401|403|404|410)\b",
    ),
    "REMOTE_UNREACHABLE": (
        "Could not resolve",
        "Connection (?:refused|reset|timed out|closed)",
        "[Tt]imed out",
        "Failed to connect",
        "[Cc]ould(?:n't| not) connect",
        r"returned error: (?:408|429|5\d\d)",
        "hung up",
        "early EOF",
        "RPC failed",
        "No route to host",
        "Network is unreachable",
        "SSL|TLS|certificate",
        "unexpected disconnect",
        "Empty reply",
        "transfer closed",
        "unable to access",
    ),
}
_PATTERNS: Final = {reason: re.compile("|".join(texts)) for reason, texts in _CAUSES.items()}
_LONGEST_LINE: Final = 500
"""Characters: what follows is the remote's to make as long as it likes."""

_CHECK_ACCESS: Final = (
    "Check the URL's spelling, and that this server may read the repository: a private one needs "
    "an ssh URL and a deploy key on the server. Then register it again with --retry."
)


def cause(error: GitFailed) -> str | None:
    """The stable reason behind git's error output; None when it is not the remote's doing."""
    text = "\n".join(line[:_LONGEST_LINE] for line in error.stderr.splitlines())
    for reason, pattern in _PATTERNS.items():
        if pattern.search(text):
            return reason
    return None


def explained(error: Exception, url: str) -> Exception:
    """What to raise for a failure of git with the remote `url`.

    Unavailable when trying again may help, DeploymentFailed when somebody must change something.
    """
    where = shown(url)
    if isinstance(error, OutOfTime):
        return _unreachable(f"{where} did not answer in time")
    if isinstance(error, TooMuchOutput):
        return _deployment_failed("REPOSITORY_TOO_LARGE", where, "")
    if not isinstance(error, GitFailed):
        return error
    reason = cause(error)
    if reason == "SERVER_DISK_FULL":
        return Unavailable(
            "the disk that this server fetches to is full", retry_after=60.0, reason=reason
        )
    if reason in (None, "REMOTE_UNREACHABLE"):
        return _unreachable(f"{where} cannot be reached: {_gist(error.stderr)}")
    return _deployment_failed(str(reason), where, _gist(error.stderr))


def _unreachable(message: str) -> Unavailable:
    return Unavailable(message, retry_after=5.0, reason="REMOTE_UNREACHABLE")


def _deployment_failed(reason: str, where: str, gist: str) -> DeploymentFailed:
    match reason:
        case "COMMIT_NOT_FOUND":
            fix = (
                "Push the commit to a branch or tag of that repository, then register it again "
                "with --retry."
            )
            return DeploymentFailed(reason, f"{where} does not have the commit", fix)
        case "REPOSITORY_TOO_LARGE":
            fix = (
                "Take large files that the model does not need out of the commit, or put the model "
                "into a repository of its own; the operator's limit is max_repository."
            )
            message = f"{where} sends more than this server takes for one commit or a list of refs"
            return DeploymentFailed(reason, message, fix)
        case "REPOSITORY_CORRUPT":
            fix = (
                "Run `git fsck --strict` in the repository; rewrite the commits that it names, or "
                "push them again from a clone that is whole. Then register it again with --retry."
            )
            return DeploymentFailed(reason, f"objects of {where} are broken: {gist}", fix)
        case _:
            return _unreadable(reason, where, gist)


def _unreadable(reason: str, where: str, gist: str) -> DeploymentFailed:
    match reason:
        case "REDIRECTED":
            fix = "Register the URL that the repository has moved to (often with .git at its end)."
            message = f"{where} redirects to another address, which this server does not follow"
        case "DUBIOUS_OWNERSHIP":
            fix = (
                "The operator makes the server's user the owner of that folder; then register it "
                "again with --retry."
            )
            message = f"{where} belongs to another user of the server's machine, so git refuses it"
        case "UNKNOWN_HOST_KEY":
            fix = (
                "The operator adds the host's key to the server's known_hosts (ssh-keyscan); then "
                "register it again with --retry."
            )
            message = f"the ssh host of {where} is not known to this server"
        case _:
            fix, message = _CHECK_ACCESS, f"{where} cannot be read: {gist}"
    return DeploymentFailed("REPOSITORY_NOT_FOUND", message, fix)


def _gist(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ssh:"))]
    return shown("; ".join((telling or lines or ["git said nothing"])[:3]), limit=300)
