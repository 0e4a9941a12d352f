#!/bin/sh
# Installs Chromium for the browser tests from Debian's packages, as root.
set -eu
if [ -n "${CHROMIUM:-}" ]; then
  exit 0
fi
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" > /dev/null; then
    exit 0
  fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  echo "Installing Chromium for the tests of the page (once, about a minute)…"
  # Do not wait for an unreachable server.
  apt_options="-o Acquire::http::Timeout=10 -o Acquire::https::Timeout=10 -o Acquire::Retries=0"
  # shellcheck disable=SC2086
  if apt-get $apt_options update -qq && apt-get $apt_options install -y -qq chromium > /dev/null; then
    exit 0
  fi
fi
echo "Without Chromium: put it or Chrome on the PATH, or name it in CHROMIUM." >&2
exit 1
