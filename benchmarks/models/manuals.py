# SPDX-License-Identifier: Apache-2.0
"""Whole manual pages as texts, each with the section of the manual that it is in.

manuals.py OUT [--packages NAME,NAME...] [--least-words N]

Fetches packages with `apt-get download` as an ordinary user (many systems install none of their
manual pages), unpacks them, formats the pages with groff, and writes train.jsonl, valid.jsonl and
test.jsonl: {"label": "3", "text": ..., "page": "printf", "package": ..., "source": ...}. All pages
of one source package are in one part. What tells a section without reading is taken out: the title
line above and below a page, and numbers behind names of other pages, "printf(3)".
"""

import argparse
import gzip
import json
import re
import subprocess
import tempfile
from pathlib import Path
from zlib import crc32

PACKAGES = """
manpages manpages-dev libssl-doc perl-doc tcl8.6-doc tk8.6-doc bash git-man openssl curl
libcurl4-doc systemd libncurses-dev zsh-common binutils-common iproute2 lvm2 e2fsprogs
btrfs-progs xfsprogs util-linux mount tar rsync openssh-client openssh-server nftables
iptables sudo screen tmux mutt postfix samba-common-bin smbclient slapd ldap-utils
krb5-doc cups-client ghostscript man-db dpkg dpkg-dev apt debhelper devscripts dash
ksh93u+m tcsh wpasupplicant qemu-utils libvirt-clients lxc podman buildah cryptsetup-bin
mdadm gpg tcpdump nmap libpcap-dev libcap-dev libseccomp-dev libx11-doc libxcb-doc
xserver-xorg-core xterm libbsd-dev postgresql-client-15 mariadb-client allegro5-doc
gnuplot-nox graphviz ffmpeg mpv sox cmake valgrind strace flex bison m4 gawk
slurm-client openmpi-doc inn2 nsd unbound bind9-utils bind9 isc-dhcp-server squid
proftpd-doc freeradius libsnmp-dev snmp snmpd collectd-core ceph-common corosync
keepalived openvpn tor privoxy fetchmail procmail libev-dev libdbi-perl libmoose-perl
libwww-perl libevent-dev libselinux1-dev libibverbs-dev librdmacm-dev libfuse3-dev
libarchive-dev libaudit-dev libpam-doc libnl-3-dev liburing-dev auditd ipmitool
smartmontools hdparm nfs-common autofs quota at cron logrotate rsyslog chrony ntpsec
sysstat lsof procps psmisc less groff ispell aspell exim4-daemon-light dovecot-core
opendkim ipset conntrack ebtables bridge-utils ethtool iw tshark socat netcat-openbsd
inetutils-telnet lftp wget aria2 rclone borgbackup restic bacula-director ploop
nbd-server drbd-utils zsh-doc
"""


def apt(*arguments, folder, root):
    done = subprocess.run(
        ["apt-get", "-q", "-o", f"Dir::Cache={root}/cache", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done


def fetch(names, folder):
    """The packages' files: those that are there already are not fetched again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if list(folder.glob(f"{name}_*.deb")):
            continue
        done = apt("download", name, folder=folder, root=folder)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["?"])[-1]
            print(f"left out: {name}: {last}", flush=True)
    return sorted(folder.glob("*.deb"))


def field(package, name):
    command = ["dpkg-deb", "--field", package, name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def formatted(path, least_words):
    """A page as plain text; nothing where its source is shorter than so many words."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if data.startswith(b".so ") or len(data.split()) < least_words:
        return ""
    command = ["groff", "-k", "-t", "-mandoc", "-Tutf8", "-P-cbou", "-rHY=0", "-rLL=200n"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    body = [" ".join(line.split()) for line in lines if line.strip()]
    body = body[1:-1]  # the title line above and below
    return re.sub(r"\((?:[1-9])[a-zA-Z0-9]*\)", "", "\n".join(body))


def pages(package, least_words):
    """Each page of a package once: (section, name, text)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
        for path in sorted(Path(folder).glob("usr/share/man/man[1-9]/*")):
            if path.is_symlink() or not path.is_file():
                continue
            name = path.name.removesuffix(".gz")
            yield path.parent.name[3:], name.rsplit(".", 1)[0], formatted(path, least_words)


def part_of(source):
    place = crc32(source.encode()) % 100
    return "test" if place < 20 else "valid" if place < 30 else "train"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--packages",
        type=lambda names: names.split(","),
        default=PACKAGES.split(),
        help="names, with commas",
    )
    parser.add_argument("--least-words", type=int, default=0, help="leave shorter pages out")
    parser.add_argument("--most-pages", type=int, default=60, help="of one package")
    options = parser.parse_args()
    found = {"train": [], "valid": [], "test": []}
    for package in fetch(options.packages, options.out / "packages"):
        name = field(package, "Package")
        source = (field(package, "Source") or name).split(" ")[0]
        taken = 0
        for section, page, text in pages(package, options.least_words):
            if taken >= options.most_pages:
                break
            if len(text.split()) < max(1, options.least_words):
                continue
            taken += 1
            found[part_of(source)].append(
                {"label": section, "text": text, "page": page, "package": name, "source": source}
            )
        print(f"{name}: {taken} pages", flush=True)
    for part, rows in found.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (options.out / f"{part}.jsonl").write_text(lines)
        print(f"{part}: {len(rows)} pages", flush=True)


if __name__ == "__main__":
    main()
