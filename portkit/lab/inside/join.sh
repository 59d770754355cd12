#!/bin/sh
# join.sh CGROUP COMMAND...: run the command in this cgroup of every hierarchy, so that it and all
# its children can be found whoever is killed.
set -eu
group=$1
shift
while read -r _ folder kind _; do
    case $kind in
        cgroup | cgroup2) echo $$ >"$folder/$group/cgroup.procs" ;;
    esac
done </proc/self/mounts
exec "$@"
