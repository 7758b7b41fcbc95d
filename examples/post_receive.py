"""Posts GitHub's push event, as a post-receive hook: `post_receive.py URL SECRET_FILE CLONE`."""

import hashlib
import hmac
import json
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path

url, secret_file, clone_url = sys.argv[1:]
secret = Path(secret_file).read_bytes().strip()
name = clone_url.rsplit("/", 1)[-1].removesuffix(".git")
nothing = "0" * 40

for line in sys.stdin:
    before, after, ref = line.split()
    event = {
        "ref": ref,
        "before": before,
        "after": after,
        "created": before == nothing,
        "deleted": after == nothing,
        "repository": {"name": name, "full_name": f"demo/{name}", "clone_url": clone_url},
    }
    body = json.dumps(event).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest(),
    }
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            print(f"pushserve: {response.read().decode().strip()}")
    except urllib.error.HTTPError as error:
        print(f"pushserve: {error.code} {error.read().decode().strip()}")
    except OSError as error:
        print(
            f"pushserve: the webhook cannot be reached ({error}); the server looks by itself soon"
        )
