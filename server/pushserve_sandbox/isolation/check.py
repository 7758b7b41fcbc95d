"""Jail check: what this machine lacks for it, as a JSON list of sentences on standard output.

Run by `pushserve doctor` as a process of its own: the server imports nothing of the sandbox.
"""

from __future__ import annotations

import json
import sys

from pushserve_sandbox.isolation.jail import supported

if __name__ == "__main__":
    json.dump(supported(), sys.stdout)
