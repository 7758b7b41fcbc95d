"""Job reports: what one worker says over its channel: it is ready, or why it never will be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pushserve_runtime.build_error import printable
from pushserve_runtime.messages import SMALL, ChannelError, Inbox
from pushserve_server.sandbox_client import Job

_MESSAGES_AT_ONCE: Final = 16
_TEXT_LIMIT: Final = 600


class JobReports:
    """Hears one worker. `folder` is its model's, whose path is not for others to see."""

    def __init__(self, job: Job, folder: str) -> None:
        self.job = job
        self._folder = folder
        self._inbox = Inbox(SMALL)
        self.ready = False
        """Whether it has loaded its model."""
        self.failure = ""
        """Why it cannot load its model, in words for the model's author."""
        self.trouble = ""
        """What else went wrong, which is not the model's fault."""

    def hear(self) -> None:
        """Take what it has said, and log what it has printed; does not wait."""
        self.job.output.log()
        try:
            for _ in range(_MESSAGES_AT_ONCE):
                if not self._inbox.read(self.job.channel):
                    return
                message = self._inbox.take()
                if message is None:
                    return
                self._take(message)
        except (ChannelError, OSError) as error:
            self.failure = f"it sent what is no message ({printable(str(error))})"
        finally:
            self._inbox.close()

    def _take(self, message: Mapping[str, Any]) -> None:
        failed = message.get("failed")
        if message.get("ready") is True:
            self.ready = True
        elif "ready" in message:
            self.failure = self._clean(str(message.get("message")))
        elif isinstance(failed, dict):
            text = self._clean(f"{failed.get('type')}: {failed.get('message')}")
            if failed.get("type") == "JailError":
                self.trouble = text
            else:
                self.failure = text

    def _clean(self, text: str) -> str:
        return printable(text.replace(f"{self._folder}/", ""), _TEXT_LIMIT)
