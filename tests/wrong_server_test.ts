/**
 * Never the wrong connection, end to end: what a call over sshs reaches, and as whom, is what plain ssh reaches
 * at the same moment. wrong_connection_test.ts has the rest row by row.
 */
import assert from "node:assert/strict";
import { eventually, pause } from "./support/eventually.ts";
import { run } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";
import { Sshd } from "./support/sshd.ts";

/** Prints the port of the server and the key that has logged in. */
const WHO = 'echo ${SSH_CONNECTION##* } $(cut -d " " -f 3 "$SSH_USER_AUTH")';

const LINGERING = { SSHS_LINGER: "60" };

/** A server that says who has logged in, with two keys that may, and a directory of its own. */
async function open(client: (dir: string) => string[]): Promise<Scene & { dir: string }> {
  const dir = Deno.makeTempDirSync({ prefix: "who-" });
  const config = client(dir);
  const scene = await Scene.open({
    config: ["ExposeAuthInfo yes"],
    env: LINGERING,
    client: { config },
  });
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${dir}/other`]);
  const key = Deno.readTextFileSync(`${dir}/other.pub`);
  Deno.writeTextFileSync(`${scene.sshd.dir}/authorized_keys`, key, { append: true });
  return Object.assign(scene, { dir });
}

/** Makes all that was just written old enough for a plan, but not the same as before. */
function age(dir: string): void {
  for (const { name } of Deno.readDirSync(dir)) {
    const time = Date.now() / 1000 - 3600 + Math.random() * 1000;
    if (Deno.lstatSync(`${dir}/${name}`).isFile) Deno.utimeSync(`${dir}/${name}`, time, time);
  }
  Deno.utimeSync(dir, 1e9, 1e9);
}

/** Asserts that each of several calls reaches what plain ssh does. Returns that. */
async function assertAsPlain(scene: Scene, what: string, options = {}): Promise<string> {
  const plain = (await scene.plainSsh(["host", WHO], options)).stdout;
  for (let i = 0; i < 3; i++) {
    assert.equal((await scene.ssh(["host", WHO], options)).stdout, plain, `${what}, call ${i}`);
  }
  return plain;
}

Deno.test("9: a key that ssh ignores for its mode is used as soon as its mode is right", async () => {
  await using scene = await open((dir) => [`IdentityFile ${dir}/other`]);
  Deno.chmodSync(`${scene.dir}/other`, 0o644);
  age(scene.dir);
  const first = await assertAsPlain(scene, "0644");
  Deno.chmodSync(`${scene.dir}/other`, 0o600);
  assert.notEqual(await assertAsPlain(scene, "0600"), first);
});

Deno.test("10: a link in an Include's directory that comes alive is read", async () => {
  await using scene = await open((dir) => [`Include ${dir}/conf.d/*`]);
  const { dir } = scene;
  Deno.mkdirSync(`${dir}/conf.d`);
  Deno.symlinkSync(`${dir}/later`, `${dir}/conf.d/link`);
  for (const path of [dir, `${dir}/conf.d`]) age(path);
  const first = await assertAsPlain(scene, "dangling");
  Deno.writeTextFileSync(`${dir}/later`, `IdentityFile ${dir}/other\n`);
  age(dir);
  assert.notEqual(await assertAsPlain(scene, "alive"), first);
});

Deno.test("8: a lane has the key that its identity says, even if a Match exec changes its mind", async () => {
  await using scene = await open((dir) => [
    `Match exec "test -e ${dir}/always || rm ${dir}/once 2>/dev/null"`,
    `IdentityFile ${dir}/other`,
    "Match all",
  ]);
  // The decision reads that it is there, and the login that it is not.
  Deno.writeTextFileSync(`${scene.dir}/once`, "");
  await scene.ssh(["host", WHO]);
  Deno.writeTextFileSync(`${scene.dir}/always`, "");
  await assertAsPlain(scene, "always");
  Deno.removeSync(`${scene.dir}/always`);
  await assertAsPlain(scene, "never");
});

Deno.test("11: a proxy's own variable leads to another server", async () => {
  await using other = await Sshd.start({ config: ["ExposeAuthInfo yes"] });
  await using scene = await open((dir) => [`ProxyCommand ${dir}/connect`, "HostKeyAlias one"]);
  const python = "import os,socket,sys,threading\n" +
    's=socket.create_connection(("127.0.0.1",int(os.environ["WHERE"])))\n' +
    "def up():\n  while d:=os.read(0,65536): s.sendall(d)\n  s.shutdown(1)\n" +
    "threading.Thread(target=up,daemon=True).start()\nwhile d:=s.recv(65536): os.write(1,d)\n";
  Deno.writeTextFileSync(`${scene.dir}/connect`, `#!/usr/bin/env python3\n${python}`, {
    mode: 0o755,
  });
  age(scene.dir);
  const at = (port: number) => ({ env: { WHERE: `${port}` } });
  const here = await assertAsPlain(scene, "here", at(scene.port));
  assert.notEqual(await assertAsPlain(scene, "there", at(other.port)), here);
  await assertAsPlain(scene, "here again", at(scene.port));
});

Deno.test("6: another ssh earlier in PATH is the ssh from then on", async () => {
  await using scene = await open(() => []);
  const PATH = scene.sandbox.env.PATH.replace(scene.bin, `${scene.bin}:${scene.dir}/bin`);
  Deno.mkdirSync(`${scene.dir}/bin`);
  const call = async () => (await scene.ssh(["host", "echo old"], { env: { PATH } })).stdout;
  for (let i = 0; i < 2; i++) assert.equal(await call(), "old\n");
  Deno.writeTextFileSync(`${scene.dir}/bin/ssh`, "#!/bin/sh\necho new\n", { mode: 0o755 });
  assert.equal(await call(), "new\n");
});

Deno.test("7: what follows -P is what this ssh takes it for", async () => {
  await using scene = await open(() => []);
  for (const argv of [["host", "-P", "echo", "one"], ["-P", "host", "echo two"]]) {
    const plain = await scene.plainSsh(argv);
    for (let i = 0; i < 2; i++) {
      const { code, stdout } = await scene.ssh(argv);
      assert.deepEqual([code, stdout], [plain.code, plain.stdout], argv.join(" "));
    }
  }
});

Deno.test("5: settings with a mistake in them still forbid what they forbid", async () => {
  await using scene = await open(() => []);
  const settings = `${scene.sandbox.home}/.config/sshs/config.json`;
  Deno.mkdirSync(settings.replace(/\/[^/]*$/, ""), { recursive: true });
  for (
    const text of [
      '{ "hosts": [{ "host": "host", "share": false }], "lnger": "5m" }',
      '{ "share": "false" }',
      '{ "share": true, }',
    ]
  ) {
    Deno.writeTextFileSync(settings, text);
    const before = scene.logins();
    for (let i = 0; i < 2; i++) await scene.ssh(["-q", "host", "true"]);
    assert.equal(scene.logins() - before, 2, text);
    assert.match(
      (await scene.ssh(["host", "true"])).stderr,
      /^sshs: settings not understood/,
      text,
    );
  }
});

Deno.test("12: an expired certificate opens no session any more", async () => {
  const dir = Deno.makeTempDirSync({ prefix: "ca-" });
  const make = (...args: string[]) => run("ssh-keygen", ["-q", ...args]);
  for (const name of ["ca", "key"]) await make("-t", "ed25519", "-N", "", "-f", `${dir}/${name}`);
  await using scene = await Scene.open({
    config: [`TrustedUserCAKeys ${dir}/ca.pub`, "AuthorizedKeysFile none"],
    env: LINGERING,
    client: { config: [`IdentityFile ${dir}/key`] },
  });
  const { name } = scene.user;
  await make("-s", `${dir}/ca`, "-I", "x", "-n", name, "-V", "-1m:+5s", `${dir}/key.pub`);
  const statuses = async () => [
    (await scene.plainSsh(["host", "true"])).code,
    (await scene.ssh(["host", "true"])).code,
    (await scene.ssh(["host", "true"])).code,
  ];
  assert.deepEqual(await statuses(), [0, 0, 0]);
  assert.equal(scene.logins(), 2);
  await eventually(
    "the certificate has expired for plain ssh",
    async () => (await scene.plainSsh(["host", "true"])).code === 255,
    { interval: 300 },
  );
  await pause(1500); // the sleeper looks twice a second
  assert.deepEqual(await statuses(), [255, 255, 255]);
});
