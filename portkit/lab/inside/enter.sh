#!/bin/sh
# enter.sh ROOT FOLDER NAME [KIND MOUNTPOINT OPTIONS]...: as PID 1 of the new host, put its root
# together, make it / and hand over to the supervisor. All mounts vanish with the mount namespace.
set -eu
root=$1 folder=$2 name=$3
shift 3
new=$folder/merged
echo "$name" >/proc/sys/kernel/hostname
mount -t overlay portkit-lab -o "lowerdir=$root,upperdir=$folder/upper,workdir=$folder/work" "$new"
# Real folders: overlay2 does not stack on overlayfs, and disks are better off without it.
for state in docker containerd containers libvirt portkit; do
    mkdir -p "$new/var/lib/$state"
    mount --bind "$folder/$state" "$new/var/lib/$state"
done
mount -t proc -o nosuid,nodev,noexec proc "$new/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$new/sys"
mount -t binfmt_misc binfmt_misc "$new/proc/sys/fs/binfmt_misc" || true
mount -t tmpfs -o mode=755 tmpfs "$new/sys/fs/cgroup"
while [ $# -ge 3 ]; do
    mkdir -p "$new$2"
    mount -t "$1" -o "$3" "$1" "$new$2"
    shift 3
done
mount -t tmpfs -o mode=755,nosuid tmpfs "$new/run"
mkdir -p "$new/run/sshd"
mkdir -m 1777 "$new/run/lock"

# No kvm: libvirt 11.3 probes QEMU again and again when it sees one that does not work.
mount -t tmpfs -o mode=755,nosuid tmpfs "$new/dev"
mkdir "$new/dev/pts" "$new/dev/shm" "$new/dev/net" "$new/dev/mqueue"
umask 0
mknod -m 666 "$new/dev/null" c 1 3
mknod -m 666 "$new/dev/zero" c 1 5
mknod -m 666 "$new/dev/full" c 1 7
mknod -m 666 "$new/dev/random" c 1 8
mknod -m 666 "$new/dev/urandom" c 1 9
mknod -m 666 "$new/dev/tty" c 5 0
mknod -m 666 "$new/dev/fuse" c 10 229
mknod -m 666 "$new/dev/net/tun" c 10 200
umask 022
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$new/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$new/dev/shm"
mount -t mqueue mqueue "$new/dev/mqueue"
ln -s pts/ptmx "$new/dev/ptmx"
ln -s /proc/self/fd "$new/dev/fd"
ln -s fd/0 "$new/dev/stdin"
ln -s fd/1 "$new/dev/stdout"
ln -s fd/2 "$new/dev/stderr"

cd "$new"
pivot_root . mnt
cd /
umount -l /mnt
exec /usr/bin/env -i \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    /usr/bin/python3 -I /usr/local/lib/portkit-lab/supervisor.py </dev/null
