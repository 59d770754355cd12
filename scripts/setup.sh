#!/usr/bin/env bash
# Installs what portkit and its lab need on Debian: apt packages, then a virtual environment. Quick
# when all is there. Usage: scripts/setup.sh VENV [tests|bench]
# tests: libguestfs and virt-v2v too, which look into disks and appliances as strangers would.
# bench: and what is measured against.
set -euo pipefail
venv=${1:-.venv}
wanted=${2:-}
here=$(cd "$(dirname "$0")/.." && pwd)

# python3-venv/-dev, gcc, pkg-config, libvirt-dev: libvirt-python is compiled against libvirt.
# fdisk, dosfstools, mtools, syslinux, syslinux-common, systemd-boot-efi: what a disk boots with.
packages=(
  python3-venv python3-dev gcc libc6-dev pkg-config libvirt-dev
  qemu-system-x86 qemu-utils seabios ovmf kmod util-linux
  fdisk dosfstools mtools syslinux syslinux-common systemd-boot-efi
  mmdebstrap iproute2 iptables openssh-client zstd e2fsprogs ca-certificates
)
# python3-guestfs: not on PyPI; built for /usr/bin/python3, linked into the environment below.
if [[ $wanted ]]; then packages+=(python3-guestfs guestfsd virt-v2v); fi
if [[ $wanted == bench ]]; then packages+=(guestfs-tools faketime); fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Debian's own interpreter: libvirt and libguestfs are built for it.
if [[ ! -x $venv/bin/python ]]; then
  echo "setup: making $venv"
  /usr/bin/python3 -m venv "$venv"
fi
echo "setup: installing Python packages"
libvirt=$(pkg-config --modversion libvirt)
"$venv/bin/pip" install -q --disable-pip-version-check wheel
"$venv/bin/pip" install -q --disable-pip-version-check "libvirt-python<=$libvirt" -e "$here[disk,dev]"
if [[ ! $wanted ]]; then
  echo "setup: ready"
  exit
fi
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for file in /usr/lib/python3/dist-packages/guestfs.py /usr/lib/python3/dist-packages/libguestfsmod*.so; do
  ln -sf "$file" "$site/"
done
# supermin, which builds the appliance of libguestfs, wants the folder even where no kernel is installed.
mkdir -p /lib/modules
echo "setup: ready"
