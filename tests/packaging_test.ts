/** The recipes in packaging/: what can be run of them here. */
import assert from "node:assert/strict";
import { VERSION } from "../lib/os/program.ts";
import { canMakeAccounts } from "./support/account.ts";
import { isThere } from "./support/is_there.ts";
import { findProgram, needProgram, REPOSITORY, run } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";
import { walk } from "./support/walk.ts";

const RECIPES = `${REPOSITORY}packaging`;

/** Whether another directory can be laid over the system's, for a process of ours alone. */
const canOverlay = canMakeAccounts && findProgram("unshare") !== undefined && new Deno.Command(
  "unshare",
  { args: ["-m", "mount", "-t", "overlay", "o", "-o", "lowerdir=/tmp:/usr/lib", "/usr/lib"] },
).outputSync().success;

Deno.test({
  name:
    "the Debian package installs below a root, works for an ordinary user, and is removed whole",
  ignore: !findProgram("dpkg-deb") || !findProgram("dpkg") || !canMakeAccounts,
  fn: async () => {
    const dir = await Deno.makeTempDir({ prefix: "p-" });
    try {
      Deno.chmodSync(dir, 0o755);
      await run("sh", [`${RECIPES}/debian/build.sh`, dir]);
      const root = `${dir}/root`;
      await run("mkdir", ["-p", `${root}/var/lib/dpkg`]);
      await Deno.writeTextFile(`${root}/var/lib/dpkg/status`, "");
      const dpkg = (...words: string[]) =>
        run("dpkg", [`--root=${root}`, "--force-depends", "--log=/dev/null", ...words]);
      await dpkg("--install", `${dir}/sshs_${VERSION}_all.deb`);
      const files = walk(root);
      for (
        const name of ["etc/profile.d/sshs.sh", "usr/bin/sshs", "usr/share/man/man1/sshs.1.gz"]
      ) {
        assert.ok(files.includes(name), name);
      }
      assert.ok(!files.includes("usr/bin/ssh"), "that is openssh-client's");
      const snippet = await Deno.readTextFile(`${root}/etc/profile.d/sshs.sh`);
      assert.doesNotMatch(snippet, /^[^#]/m, "off as delivered");
      for (const file of files.filter((name) => /usr\/lib\/sshs\/|usr\/bin\//.test(name))) {
        const { mode, isSymlink } = Deno.lstatSync(`${root}/${file}`);
        assert.ok(isSymlink || (mode! & 0o022) === 0 && (mode! & 0o044) === 0o044, file);
        if (isSymlink || file.endsWith("/")) continue;
        assert.ok(!Deno.readTextFileSync(`${root}/${file}`).includes(dir), file);
      }
      if (canOverlay) await callWith(root);
      await dpkg("--purge", "sshs");
      assert.equal(isThere(`${root}/usr`), false);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});

/** Calls a server twice as an ordinary user, with what is below a root as the system's own. */
async function callWith(root: string): Promise<void> {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  for (const dir of [sandbox.dir, sshd.dir]) await Deno.chmod(dir, 0o755);
  const { uid, gid } = await Deno.stat(sshd.user.home);
  await Deno.copyFile(`${sshd.dir}/user_key`, `${sandbox.home}/key`);
  for (const path of [sandbox.home, `${sandbox.home}/key`]) await Deno.chown(path, uid, gid);
  const as = `setpriv --reuid=${uid} --regid=${gid} --clear-groups`;
  const call = `${as} ssh -F ${sshd.config} -o UserKnownHostsFile=$HOME/known -i $HOME/key host`;
  const script = `mount -t overlay o -o lowerdir=${root}/usr/lib:/usr/lib /usr/lib
    export PATH=/usr/lib/sshs/bin:$PATH
    ${call} echo 1; ${call} echo 2; ${as} sshs --list; ${as} sshs --stop --all --now`;
  const env = { SSHS_DIR: `${sandbox.home}/s`, DENO_DIR: `${sandbox.home}/deno` };
  const words = [needProgram("unshare"), "-m", "sh", "-c", script];
  const { stdout, stderr } = await sandbox.run(words, { env, cwd: "/" });
  assert.match(stdout, /^1\n2\nHOST/, stderr);
  assert.equal(sshd.logins(), 1);
}

Deno.test("the PKGBUILD is valid sh, and its package() puts the same below its root", async () => {
  const dir = await Deno.makeTempDir();
  try {
    await run("mkdir", [`${dir}/src`]);
    await run("cp", [`${RECIPES}/stage.sh`, `${REPOSITORY}dist/sshs.js`, `${dir}/src`]);
    await run("bash", [
      ...["-ec", `srcdir=$0/src pkgdir=$0/pkg; . '${RECIPES}/arch/PKGBUILD'; package`, dir],
    ]);
    const scripts = walk(`${dir}/pkg/usr/lib/sshs/bin`).sort();
    assert.deepEqual(scripts, ["proxy", "scp", "sftp", "ssh", "sshs"]);
    assert.match(
      Deno.readTextFileSync(`${dir}/pkg/usr/lib/sshs/bin/ssh`),
      /^sshs_lib='\/usr\/lib\/sshs'$/m,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("the recipes are of this version, and name the files that an installation has", async () => {
  const read = (name: string) => Deno.readTextFileSync(`${RECIPES}/${name}`);
  assert.match(read("arch/PKGBUILD"), new RegExp(`^pkgver=${VERSION}$`, "m"));
  assert.match(read("nix/default.nix"), new RegExp(`version = "${VERSION}"`));
  for (const name of ["homebrew/sshs.rb", "nix/default.nix", "stage.sh"]) {
    for (const part of ["lib/sshs/made", "lib/sshs/program"]) {
      assert.ok(read(name).replaceAll('lib/"sshs', "lib/sshs").includes(part), `${name}: ${part}`);
    }
  }
  for (const name of ["stage.sh", "debian/build.sh"]) await run("sh", ["-n", `${RECIPES}/${name}`]);
  if (findProgram("ruby")) await run("ruby", ["-c", `${RECIPES}/homebrew/sshs.rb`]);
});
