#!/usr/bin/env bash
# The main job, for real: radicale from alpha to beta over a link of 100 Mbit, an event written and
# read there, the report, and what to type next. Usage: scripts/demo.sh VENV
set -euo pipefail
cd "$(dirname "$0")/.."
portkit=${1:-.venv}/bin/portkit
python=${1:-.venv}/bin/python

echo "== two hosts on this machine: alpha (Debian 12) and beta (Debian 13)"
"$portkit" lab up alpha beta
"$portkit" lab base alpha
"$portkit" lab shape beta --rate 100mbit
trap '"$portkit" lab shape beta --rate none' EXIT

# A demo that ran before left its app on beta; its port is wanted again.
for old in $("$portkit" ps --on lab:beta --output json | "$python" -c '
import json, sys
print(*(row["id"] for row in json.load(sys.stdin) if row["app"] == "radicale"))'); do
  "$portkit" rm --yes "$old" --on lab:beta
done

echo "== portkit move fixtures/apps/radicale --from lab:alpha --to lab:beta --repeat 3"
"$portkit" move fixtures/apps/radicale --from lab:alpha --to lab:beta --repeat 3

echo "== an event is written on beta and read back"
address=$("$portkit" lab status | awk '$1 == "beta" { print $3 }')
"$python" scripts/caldav.py "http://$address:5232"

cat <<END

Radicale runs on beta now. Next:
  $portkit ps --on lab:beta
  $portkit logs radicale --on lab:beta
  $portkit move fixtures/apps/registry --from lab:alpha --to lab:beta --dry-run
  $portkit rm radicale --on lab:beta
  $portkit lab down
END
