#!/bin/sh
# Puts sshs where a package wants it, for all recipes beside this file:
#
#   sh packaging/stage.sh ROOT PREFIX DENO [sshs.js]
#
# ROOT is where the package is put together, PREFIX where it will be (/usr), DENO the path of Deno there; it need
# not be there now. Without a file of a release one is made from this checkout. Only `sshs` is in PREFIX/bin: ssh,
# scp and sftp are in PREFIX/lib/sshs/bin, which each user puts first in PATH, or not.
set -eu
root=$1 prefix=$2 deno=$3
here=$(cd "$(dirname "$0")/.." && pwd)
program=${4:-$here/dist/sshs.js}
[ -f "$program" ] || SSHS_IMPORTS=npm sh "$here/deno.sh" run --quiet --allow-all "$here/packaging/release.ts"

SHELL=/bin/sh deno run --quiet --no-config --allow-all "$program" --install --prefix "$root$prefix" >/dev/null
library=$prefix/lib/sshs
cd "$root$prefix"
rm lib/sshs/made bin/ssh bin/scp bin/sftp bin/sshs # without `made` sshs --uninstall leaves it to the package
ln -s ../lib/sshs/bin/sshs bin/sshs
printf "sshs_deno='%s'\nsshs_program='%s'\n" "$deno" "$library/sshs.js" >lib/sshs/program
for script in lib/sshs/bin/*; do
  sed "s|^sshs_lib=.*|sshs_lib='$library'|" "$script" >"$script.new"
  chmod 755 "$script.new"
  mv "$script.new" "$script"
done
