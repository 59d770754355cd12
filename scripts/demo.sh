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

# A demo that was killed left its Move unfinished: that is taken back before the next one.
for cut in $("$portkit" moves --output json | "$python" -c '
import json, sys
print(*(row["id"] for row in json.load(sys.stdin)
        if row["unfinished"] and (row["app"], row["to"]) == ("radicale", "lab:beta")))'); do
  "$portkit" rollback "$cut"
done

# A demo that ran before left its app on beta; its port is wanted again.
for old in $("$portkit" ps --on lab:beta --output json | "$python" -c '
import json, sys
print(*(row["id"] for row in json.load(sys.stdin) if row["app"] == "radicale"))'); do
  "$portkit" rm --yes "$old" --on lab:beta
done

echo "== portkit move fixtures/apps/radicale --from lab:alpha --to lab:beta --repeat 3"
"$portkit" move fixtures/apps/radicale --from lab:alpha --to lab:beta --repeat 3

address=$("$portkit" lab status | awk '$1 == "beta" { print $3 }')
echo "== the container on beta: an event is written and read back"
"$python" scripts/caldav.py "http://$address:5232"

echo "== the same port, now the VM: stop the container, start the disk, write and read again"
"$portkit" stop radicale --on lab:beta
"$portkit" start radicale --on lab:beta --form disk
"$python" scripts/caldav.py "http://$address:5232"
"$portkit" stop radicale --on lab:beta
"$portkit" start radicale --on lab:beta --form image

cat <<END

Radicale runs on beta now, as a container; its VM stands ready there. Next:
  $portkit moves
  $portkit ps --on lab:beta
  $portkit logs radicale --on lab:beta --form disk
  $portkit move fixtures/apps/registry --from lab:alpha --to lab:beta --dry-run
  $portkit pack fixtures/apps/radicale --from lab:alpha --form disk -o /tmp
  $portkit rm radicale --on lab:beta
  $portkit lab down
END
