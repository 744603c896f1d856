/** What SECURITY.md says about secrets and the sleeper; and that the tests that it names exist. */
import assert from "node:assert/strict";
import { withoutValues } from "../lib/ssh/identity.ts";
import { canMakeAccounts } from "./support/account.ts";
import { eventually, pause } from "./support/eventually.ts";
import { isAlive, signal } from "./support/processes.ts";
import { findProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

const LINGERING = { env: { SSHS_LINGER: "60" } };

Deno.test("no value of a variable is written down", async () => {
  assert.equal(
    withoutValues('user me\nsetenv TOKEN=secret\nenvironment TOKEN "secret"\njump setenv A=b=c\n'),
    "user me\nsetenv TOKEN\nenvironment TOKEN\njump setenv A\n",
  );
  const client = { config: ["SetEnv TOKEN=secret"] };
  await using scene = await Scene.open({ ...LINGERING, config: ["AcceptEnv *"], client });
  const { stdout } = await scene.ssh(["host", "echo $TOKEN"]);
  assert.equal(stdout, "secret\n");
  assert.match(Deno.readTextFileSync(scene.fileOf("/about")), /^setenv TOKEN$/m);
  assert.deepEqual(tracesOf("secret", scene), []);
});

Deno.test({
  name: "a typed password is in no file, argument or environment",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await Scene.open({ ...LINGERING, passwords: true });
    const password = scene.user.password!;
    const words = ["ssh", ...scene.args("echo logged in; read wait")];
    await using pty = await scene.pty(words, { env: { SHELLOPTS: "allexport" } });
    await pty.waitFor("password: ");
    let watching = true;
    const found = new Set<string>();
    const watch = (async () => {
      while (watching) {
        for (const trace of tracesOf(password, scene)) found.add(trace);
        await pause(5);
      }
    })();
    pty.write(`${password}\r`);
    await pty.waitFor("logged in");
    watching = false;
    await watch;
    assert.deepEqual([...found, ...tracesOf(password, scene)], []);
    assert.equal(pty.output.includes(password), false);
    assert.equal(scene.lanes().length, 1);
  },
});

/** Returns the processes with a secret in their arguments or environment, and the files that contain it. */
function tracesOf(secret: string, scene: Scene): string[] {
  const forms = [secret, new TextEncoder().encode(secret).toHex()];
  const has = (text: string) => forms.some((form) => text.includes(form));
  const running = scene.processes().filter(({ args, environ }) => has(args.join(" ") + environ));
  const files = scene.sandbox.files().filter((file) => {
    try {
      return has(Deno.readTextFileSync(`${scene.sandbox.stateDir}/${file}`));
    } catch {
      return false; // A socket or a directory, or gone already.
    }
  });
  return [...running.map(({ args }) => `process ${args[0]}`), ...files];
}

Deno.test("the sleeper listens nowhere and holds nothing of the caller", async () => {
  await using scene = await Scene.open(LINGERING);
  const held = `${scene.sandbox.dir}/held`;
  await Deno.writeTextFile(held, "");
  const script = `exec 8<'${held}' 9<'${held}'; exec "$@"`;
  await scene.run(["sh", "-c", script, "sh", "ssh", ...scene.args("true")]);
  await scene.held();
  const [sleeper] = scene.sandbox.sleepers();
  const files = filesOf(sleeper.pid);
  assert.equal(files.includes(held), false);
  const listening = (await Deno.readTextFile(`/proc/${sleeper.pid}/net/unix`)).split("\n")
    // The flags of a socket that accepts connections (__SO_ACCEPTCON), and its inode.
    .map((line) => line.trim().split(/\s+/)).filter(([, , , flags]) => flags === "00010000")
    .map((fields) => `socket:[${fields[6]}]`);
  assert.ok(files.some((file) => file.startsWith("socket:")));
  assert.deepEqual(files.filter((file) => listening.includes(file)), []);
  assert.equal(Deno.readLinkSync(`/proc/${sleeper.pid}/cwd`), "/");
  for (const { pid } of scene.sandbox.masters()) assert.equal(filesOf(pid).includes(held), false);
});

function filesOf(pid: number): string[] {
  return Array.from(Deno.readDirSync(`/proc/${pid}/fd`), ({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
    } catch {
      return ""; // Closed meanwhile.
    }
  });
}

Deno.test({
  name:
    "the sleeper opens no session and writes nowhere but in the state directory and Deno's cache",
  ignore: !findProgram("strace"),
  fn: async () => {
    await using scene = await Scene.open({ env: { SSHS_LINGER: "5" } });
    const { sandbox } = scene;
    await scene.ssh(["host", "true"]);
    await scene.held();
    const [{ pid }] = sandbox.sleepers();
    signal([pid], "SIGKILL");
    await eventually("it is gone", () => !isAlive(pid));
    const trace = `${sandbox.dir}/trace`;
    const strace = ["strace", "-f", "-e", "trace=%file,%process", "-o", trace];
    const sleeper = sandbox.argv(["--sleeper", sandbox.stateDir]);
    assert.equal((await scene.run([...strace, ...sleeper])).code, 0);
    await scene.assertClean();
    assert.equal(scene.sshd.sessions(), 1);
    const writes = (await Deno.readTextFile(trace)).split("\n").filter((line) => WRITES.test(line));
    const places = [`${sandbox.stateDir}/`, `${sandbox.env.DENO_DIR}/`, "/dev/null/"];
    const isWithin = (line: string) =>
      [...line.matchAll(/"([^"]*)"/g)].every(([, path]) =>
        places.some((place) => `${path}/`.startsWith(place))
      );
    assert.ok(writes.some(isWithin));
    assert.deepEqual(writes.filter((line) => !isWithin(line)), []);
  },
});

/** Matches a line of strace(1) for a call that creates, changes or removes a file. */
const WRITES =
  /^\d+ +((creat|mk|rm|unlink|rename|link|symlink|truncate|chmod|chown|fchmod|fchown|utime)\w*\(|open(at)?\(.*O_(WRONLY|RDWR|CREAT|TRUNC))/;

Deno.test("the tests that SECURITY.md names exist", async () => {
  const text = await Deno.readTextFile(new URL("../SECURITY.md", import.meta.url));
  let file = "";
  let names = 0;
  for (const [, newFile, name] of text.matchAll(/`(\w+_test\.ts)`|(?<=[\s])"([^"]+)"/g)) {
    if (newFile) file = await Deno.readTextFile(new URL(newFile, import.meta.url));
    else if (file) {
      names++;
      assert.ok(file.includes(name.replace(/\s+/g, " ")), name);
    }
  }
  assert.ok(names > 20);
});
