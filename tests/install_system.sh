#!/bin/sh
# Installs a Debian package where that is possible; elsewhere the tests that need it are
# skipped with a reason (never in CI).
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "$1 is not installed (needs root and apt-get); what needs it is skipped" >&2
  exit 0
fi
echo "installing $1"
export DEBIAN_FRONTEND=noninteractive
apt-get install --yes --quiet=2 --no-install-recommends "$1" >/dev/null 2>&1 ||
  { apt-get update --quiet=2 && apt-get install --yes --quiet=2 --no-install-recommends "$1" >/dev/null; }
