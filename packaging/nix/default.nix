# A Nix expression. Only read so far: there is no Nix where this was written. `src` is the release's sshs.js; its
# hash is in SHA256SUMS. For each user: PATH=${sshs}/lib/sshs/bin:$PATH.
{ pkgs ? import <nixpkgs> { } }:

pkgs.stdenvNoCC.mkDerivation {
  pname = "sshs";
  version = "0.3.0";
  src = pkgs.fetchurl {
    url = "BASE/sshs.js";
    hash = pkgs.lib.fakeHash;
  };
  dontUnpack = true;
  nativeBuildInputs = [ pkgs.deno ];
  installPhase = ''
    export HOME=$TMPDIR DENO_DIR=$TMPDIR/deno SHELL=/bin/sh
    deno run --quiet --no-config --allow-all $src --install --prefix $out >/dev/null
    rm $out/lib/sshs/made $out/bin/ssh $out/bin/scp $out/bin/sftp
    substituteInPlace $out/lib/sshs/program --replace-fail \
      "$(sed -n "s/^sshs_deno=//p" $out/lib/sshs/program)" "'${pkgs.deno}/bin/deno'"
  '';
  meta = {
    description = "ssh with connection sharing that needs no setup";
    license = pkgs.lib.licenses.mit;
    mainProgram = "sshs";
    platforms = pkgs.lib.platforms.unix;
  };
}
