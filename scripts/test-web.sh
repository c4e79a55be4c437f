#!/usr/bin/env bash
# Tests the monitor page in headless Chromium. Chromium, Node.js and npm take
# half a gigabyte, so set-up leaves them out, and `--if-present` skips where they
# are missing. MONITOR=http://127.0.0.1:8080/ tests a running program instead of
# the example's streams.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=()
for program in "${CHROMIUM:-chromium}" node npm; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if ((${#missing[@]})); then
    how="On Debian: apt-get install --no-install-recommends chromium nodejs npm"
    if [[ ${1:-} == --if-present ]]; then
        echo "skipped: the monitor page is not tested without ${missing[*]}. $how"
        exit 0
    fi
    echo "test-web: ${missing[*]} is missing. $how" >&2
    exit 1
fi

export CHROMIUM
CHROMIUM=$(command -v "${CHROMIUM:-chromium}")
[[ -n ${MONITOR:-} ]] || cargo build --locked --example monitor
npm --prefix tests/web ci --silent
npm --prefix tests/web test --silent
