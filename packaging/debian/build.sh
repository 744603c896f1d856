#!/bin/sh
# Builds a Debian package with dpkg-deb alone: sh packaging/debian/build.sh [DIRECTORY]
#
# Tried by tests/packaging_test.ts, which builds it, installs it below a directory with `dpkg --root`, calls a
# server with it, and removes it. Debian has no package of Deno: `deno` must be in PATH, from npm or deno.land.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
to=$(cd "${1:-.}" && pwd)
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$here/deno.json")
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

sh "$here/packaging/stage.sh" "$root" /usr /usr/bin/deno
gzip -9n "$root/usr/share/man/man1/sshs.1"
mkdir -p "$root/DEBIAN" "$root/etc/profile.d" "$root/usr/share/doc/sshs"
cp "$here/LICENSE" "$root/usr/share/doc/sshs/copyright"
gzip -9nc "$here/CHANGELOG.md" >"$root/usr/share/doc/sshs/changelog.gz"
cat >"$root/etc/profile.d/sshs.sh" <<'END'
# Puts the ssh, scp and sftp of sshs first in PATH for all users. Off as delivered: take away the # to turn it on.
# PATH=/usr/lib/sshs/bin:$PATH
END
cat >"$root/DEBIAN/control" <<END
Package: sshs
Version: $version
Architecture: all
Maintainer: the sshs authors <sshs@localhost>
Depends: openssh-client
Recommends: deno
Section: net
Priority: optional
Description: ssh with connection sharing that needs no setup
 The first "ssh host" logs in and leaves its connection open for a while; later
 ones use it. Each call still is OpenSSH's own ssh, with the same arguments,
 output and exit status. For one user: PATH=/usr/lib/sshs/bin:\$PATH; for all:
 /etc/profile.d/sshs.sh.
END
echo /etc/profile.d/sshs.sh >"$root/DEBIAN/conffiles"
dpkg-deb --root-owner-group --build "$root" "$to/sshs_${version}_all.deb"
