/** Who else could reach a host through us: what SECURITY.md says about other users, sudo and containers. */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { isThere } from "./support/is_there.ts";
import { endAll } from "./support/processes.ts";
import { findProgram, needProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

const NOT_SHARED = /^sshs: not shared: /;

/** Opens a scene whose sandbox others may enter, so that only our own modes keep them out. */
async function openScene(): Promise<Scene> {
  const scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  await Deno.chmod(scene.sandbox.dir, 0o755);
  return scene;
}

/** Returns the files in the state directory, and the directory itself, that others than the owner may use. */
function openToOthers({ sandbox }: Scene): string[] {
  return ["", ...sandbox.files()].filter((file) =>
    (Deno.lstatSync(`${sandbox.stateDir}/${file}`).mode! & 0o077) !== 0
  );
}

Deno.test({
  name: "another user gets no session, though one gate after another is left open",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await openScene();
    const { sandbox } = scene;
    const call = () => scene.ssh(["host", "echo mine"]);
    assert.equal((await call()).stdout, "mine\n");
    const [{ identity, socket }] = scene.lanes();
    const { uid, gid } = await Deno.stat(scene.user.home);
    const other = () =>
      scene.run([
        ...[needProgram("setpriv"), `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"],
        ...[needProgram("ssh"), "-S", socket, "-O", "check", "host"],
      ], { cwd: "/" });
    assert.match((await other()).stderr, /Permission denied/, "0700 on the state directory");
    await Deno.chmod(sandbox.stateDir, 0o755);
    assert.match((await other()).stderr, /Permission denied/, "0700 on the identity's directory");
    await Deno.chmod(`${sandbox.stateDir}/${identity}`, 0o755);
    assert.match((await other()).stderr, /Permission denied/, "0600 on the socket");
    await Deno.chmod(socket, 0o666);
    const refused = await other();
    assert.notEqual(refused.code, 0, "the master asks who its peer is (getpeereid in mux.c)");
    assert.doesNotMatch(refused.stderr, /Master running/);
    // And the program makes no plan if the directory is no longer as we made it.
    await Deno.remove(`${sandbox.stateDir}/plans`, { recursive: true });
    const before = scene.logins();
    const after = await call();
    assert.match(after.stderr, /^sshs: not shared: .* can be used by others/);
    assert.equal(after.stdout, "mine\n");
    assert.equal(scene.logins() - before, 1);
  },
});

Deno.test("all in the state directory is its owner's alone, whatever the umask", async () => {
  await using scene = await openScene();
  for (let i = 0; i < 2; i++) {
    const words = ["sh", "-c", 'umask 0; exec "$@"', "sh", "ssh", ...scene.args("umask")];
    assert.deepEqual((await scene.run(words)).stderr, "");
  }
  await scene.held();
  assert.ok(scene.sandbox.files().some((file) => file.startsWith("plans/")));
  // Leases are empty, and their directory is its owner's.
  assert.deepEqual(openToOthers(scene).filter((file) => !/\.leases\/./.test(file)), []);
});

Deno.test({
  name:
    "root with another user's environment, as sudo -E leaves it, makes nothing in their directories",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await openScene();
    const { dir } = scene.sandbox;
    const { uid, gid } = await Deno.stat(scene.user.home);
    for (const name of ["run", "tmp"]) {
      await Deno.mkdir(`${dir}/${name}`, { mode: 0o700 });
      await Deno.chown(`${dir}/${name}`, uid, gid);
    }
    await Deno.mkdir(`${dir}/root`, { mode: 0o700 });
    const call = (tmp: string, more: Record<string, string | undefined> = {}) =>
      scene.ssh(["host", "echo root"], {
        env: {
          SSHS_DIR: undefined,
          XDG_RUNTIME_DIR: `${dir}/run`,
          TMPDIR: `${dir}/${tmp}`,
          ...more,
        },
      });
    const theirs = await call("tmp");
    assert.match(theirs.stderr, NOT_SHARED);
    assert.match(theirs.stderr, /tmp\/sshs-0 cannot be used; set SSHS_DIR to /);
    for (const quiet of ["-q", "-oBatchMode=yes", "-oLogLevel=QUIET"]) {
      const env = { SSHS_DIR: `${dir}/run` };
      assert.equal((await scene.ssh([quiet, "host", "echo root"], { env })).stderr, "", quiet);
    }
    assert.equal(theirs.stdout, "root\n");
    const chosen = await call("tmp", { SSHS_DIR: `${dir}/run` });
    assert.match(chosen.stderr, NOT_SHARED);
    assert.equal((await call("root")).stderr, "");
    assert.ok(isThere(`${dir}/root/sshs-0`));
    assert.deepEqual([...Deno.readDirSync(`${dir}/run`)], []);
    assert.deepEqual([...Deno.readDirSync(`${dir}/tmp`)], []);
    await endAll(scene.strays().map(({ pid }) => pid)); // Their state directory is not the scene's.
  },
});

Deno.test({
  name: "a call in another network does not ride on a login from this one",
  ignore: !canUnshare("--net"),
  fn: async () => {
    await using scene = await openScene();
    const words = ["ssh", ...scene.args("echo connected")];
    assert.equal((await scene.run(words)).stdout, "connected\n");
    for (const held of [false, true]) {
      if (held) await scene.held();
      const apart = await scene.run(["unshare", "--net", ...words]);
      assert.equal(apart.code, 255, "there is no way to the server from there");
      assert.equal(apart.stdout, "");
      assert.equal((await scene.run(words)).stdout, "connected\n");
    }
    assert.equal(scene.logins(), 1);
  },
});

Deno.test({
  name: "a call in another pid namespace neither uses nor removes a lane of this one",
  ignore: !canUnshare("--pid"),
  fn: async () => {
    await using scene = await openScene();
    const words = ["ssh", ...scene.args("echo connected")];
    assert.equal((await scene.run(words)).stdout, "connected\n");
    await scene.held();
    const [lane] = scene.lanes();
    const unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    const apart = await scene.run([...unshare, ...words]);
    assert.deepEqual([apart.code, apart.stdout], [0, "connected\n"], apart.stderr);
    assert.equal(scene.logins(), 2);
    assert.equal(scene.lanes().find(({ socket }) => socket === lane.socket)?.open, true);
    assert.equal((await scene.run(words)).stdout, "connected\n");
    assert.equal(scene.logins(), 2);
  },
});

function canUnshare(what: string): boolean {
  if (!canMakeAccounts || findProgram("unshare") === undefined) return false;
  const args = [what, ...(what === "--pid" ? ["--fork", "--mount-proc"] : []), "true"];
  return new Deno.Command("unshare", { args, stderr: "null" }).outputSync().success;
}
