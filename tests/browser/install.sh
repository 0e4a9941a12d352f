#!/bin/sh
# Puts Chromium where the browser tests find it: from Debian's packages, as root.
set -eu
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" > /dev/null; then
    echo "$name is installed."
    exit 0
  fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  apt-get update -qq
  apt-get install -y -qq chromium
else
  echo "Install Chromium or Chrome and put it on the PATH, or name it in CHROMIUM." >&2
  exit 1
fi
