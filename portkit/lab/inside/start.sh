#!/bin/sh
# start.sh CGROUP NETNS ARGUMENTS: join the host's cgroups first, so that nothing escapes whoever
# is killed from here on; then its network and namespaces; then enter.sh.
# nsenter, not `ip netns exec`: that remounts /sys and hides the cgroups.
set -eu
group=$1 netns=$2
shift 2
while read -r _ folder kind _; do
    case $kind in
        cgroup | cgroup2) echo $$ >"$folder/$group/cgroup.procs" ;;
    esac
done </proc/self/mounts
exec nsenter --net="/run/netns/$netns" \
    unshare --mount --uts --ipc --pid --cgroup --fork --kill-child --propagation private \
    sh "${0%/*}/enter.sh" "$@"
