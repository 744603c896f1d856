/** What SECURITY.md claims, as far as no other file shows it. */
import assert from "node:assert/strict";
import { withoutValues } from "../lib/ssh/identity.ts";
import { openStateDir, StateDirError } from "../lib/lane/state_dir.ts";
import { harmless } from "../lib/os/terminal.ts";
import { canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { exists } from "./support/exists.ts";
import { signal } from "./support/processes.ts";
import { findProgram, needProgram, run } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const DEADLINE = { deadline: 30_000 };

/** What a terminal would take for a command, or show in another order than it was written. */
// deno-lint-ignore no-control-regex
const HARMFUL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;
/** Sets the title, erases the screen (in C0 and in C1), and turns the rest of the line around. */
const ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202e";

async function makeSandbox(): Promise<Sandbox> {
  const sandbox = await Sandbox.create();
  // A master's grace is three looks: on a busy machine a sleeper may take some time to wake.
  Object.assign(sandbox.env, { SSHS_LOOK: "3" });
  // A directory that others may enter: what keeps them out must be ours.
  await Deno.chmod(sandbox.dir, 0o755);
  return sandbox;
}

/** The files below the state directory that anybody but their owner may use. */
function openToOthers(sandbox: Sandbox): string[] {
  return ["", ...sandbox.files()].filter((file) =>
    (Deno.lstatSync(`${sandbox.stateDir}/${file}`).mode! & 0o077) !== 0
  );
}

function socketOf(sandbox: Sandbox): string {
  return `${sandbox.stateDir}/${sandbox.files().find((file) => file.endsWith(".sock"))}`;
}

// Other users

Deno.test({
  name: "another user gets no session, though one gate after another is left open",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sshd = await Sshd.start();
    await using sandbox = await makeSandbox();
    const call = () => sandbox.sshs(["-F", sshd.config, "host", "echo mine"]);
    assert.equal((await call()).stdout, "mine\n");
    const socket = socketOf(sandbox);
    const { uid, gid } = await Deno.stat(sshd.user.home);
    const other = () =>
      sandbox.run([
        ...[needProgram("setpriv"), `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"],
        ...[needProgram("ssh"), "-S", socket, "-O", "check", "host"],
      ], { cwd: "/" });
    assert.match((await other()).stderr, /Permission denied/, "0700 on the state directory");
    await Deno.chmod(sandbox.stateDir, 0o755);
    assert.match((await other()).stderr, /Permission denied/, "0700 on the identity's directory");
    await Deno.chmod(socket.slice(0, socket.lastIndexOf("/")), 0o755);
    assert.match((await other()).stderr, /Permission denied/, "0600 on the socket");
    await Deno.chmod(socket, 0o666);
    const refused = await other();
    assert.notEqual(refused.code, 0, "the master asks who its peer is (getpeereid in mux.c)");
    assert.doesNotMatch(refused.stderr, /Master running/);
    // And we do not use a directory that is no longer as we made it.
    const after = await call();
    assert.match(after.stderr, /Not shared: .* can be used by others/);
    assert.equal(after.stdout, "mine\n");
    assert.equal(sshd.logins(), 2);
  },
});

Deno.test("all in the state directory is its owner's alone, whatever the umask", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await makeSandbox();
  const open = ["sh", "-c", 'umask 0; exec "$@"', "sh"];
  await sandbox.run([...open, ...sandbox.argv(["-F", sshd.config, "host", "true"])]);
  await eventually("the sleeper holds the lane", () => sandbox.sleepers().length > 0, DEADLINE);
  assert.ok(sandbox.files().some((file) => file.startsWith("plans/")));
  assert.deepEqual(openToOthers(sandbox), []);
});

Deno.test("a state directory that somebody else could change is not used", async () => {
  const dir = await Deno.makeTempDir({ prefix: "s-" });
  const uid = Deno.uid();
  const open = (path: string) =>
    openStateDir({ uid: () => uid, env: (name) => name === "SSHS_DIR" ? path : undefined });
  try {
    await Deno.mkdir(`${dir}/mine`, { mode: 0o700 });
    await Deno.symlink(`${dir}/mine`, `${dir}/link`);
    await Deno.writeTextFile(`${dir}/file`, "");
    await Deno.mkdir(`${dir}/shared`);
    await Deno.mkdir(`${dir}/shared/s`, { mode: 0o700 });
    await Deno.chmod(`${dir}/shared`, 0o775);
    await Deno.mkdir(`${dir}/wide`, { mode: 0o700 });
    await Deno.chmod(`${dir}/wide`, 0o711);
    assert.equal(open(`${dir}/mine/`), `${dir}/mine`);
    for (
      const [path, why] of [
        ["link", /is a symbolic link/],
        ["link/", /is a symbolic link/],
        ["file", /is not a directory/],
        ["wide", /can be used by others/],
        ["shared/s", /stands in .*shared, which others can write/],
      ] as const
    ) {
      assert.throws(
        () => open(`${dir}/${path}`),
        (e) => e instanceof StateDirError && why.test(e.message),
      );
    }
    await Deno.chmod(`${dir}/shared`, 0o1777);
    assert.equal(open(`${dir}/shared/s`), `${dir}/shared/s`, "as in /tmp");
    if (uid !== 0) return;
    await Deno.chown(`${dir}/mine`, 1, 1);
    assert.throws(() => open(`${dir}/mine`), /belongs to user 1/);
    await Deno.chown(`${dir}/shared`, 1, 1);
    assert.throws(() => open(`${dir}/shared/s`), /stands in .*shared, which belongs to user 1/);
    await Deno.symlink(`${dir}/shared`, `${dir}/way`);
    assert.throws(() => open(`${dir}/way/s`), /stands in .*, which belongs to user 1/);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

// sudo

Deno.test({
  name:
    "root with another user's environment, as sudo -E leaves it, makes nothing in their directories",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sshd = await Sshd.start();
    await using sandbox = await makeSandbox();
    const { uid, gid } = await Deno.stat(sshd.user.home);
    for (const name of ["run", "tmp"]) {
      await Deno.mkdir(`${sandbox.dir}/${name}`, { mode: 0o700 });
      await Deno.chown(`${sandbox.dir}/${name}`, uid, gid);
    }
    await Deno.mkdir(`${sandbox.dir}/root`, { mode: 0o700 });
    const call = (tmp: string, more: Record<string, string | undefined> = {}) =>
      sandbox.sshs(["-F", sshd.config, "host", "echo root"], {
        env: {
          SSHS_DIR: undefined,
          XDG_RUNTIME_DIR: `${sandbox.dir}/run`,
          TMPDIR: `${sandbox.dir}/${tmp}`,
          ...more,
        },
      });
    const theirs = await call("tmp");
    assert.match(theirs.stderr, /Not shared: .*belongs to user/);
    assert.equal(theirs.stdout, "root\n");
    const chosen = await call("tmp", { SSHS_DIR: `${sandbox.dir}/run` });
    assert.match(chosen.stderr, /Not shared: .*belongs to user/);
    assert.equal((await call("root")).stderr, "");
    assert.ok(exists(`${sandbox.dir}/root/sshs-0`));
    assert.deepEqual([...Deno.readDirSync(`${sandbox.dir}/run`)], []);
    assert.deepEqual([...Deno.readDirSync(`${sandbox.dir}/tmp`)], []);
  },
});

// A container

Deno.test({
  name: "a call in another network does not ride on a login from this one",
  ignore: !canUnshareNetwork(),
  fn: async () => {
    await using sshd = await Sshd.start();
    await using sandbox = await makeSandbox();
    const args = ["-F", sshd.config, "host", "echo connected"];
    assert.equal((await sandbox.sshs(args)).stdout, "connected\n");
    const apart = await sandbox.run(["unshare", "--net", ...sandbox.argv(args)]);
    assert.equal(apart.code, 255, "there is no way to the server from there");
    assert.equal(apart.stdout, "");
    assert.equal((await sandbox.sshs(args)).stdout, "connected\n");
    assert.equal(sshd.logins(), 1);
  },
});

function canUnshareNetwork(): boolean {
  if (!canMakeAccounts || findProgram("unshare") === undefined) return false;
  return new Deno.Command("unshare", { args: ["--net", "true"], stderr: "null" }).outputSync()
    .success;
}

// The far side

Deno.test("harmless leaves nothing for a terminal to obey, and the text readable", () => {
  assert.equal(harmless("a\tb\nc d é ü 日本 \u{1F600}"), "a\tb\nc d é ü 日本 \u{1F600}");
  assert.equal(harmless("\x1b[2J\x07\r\b\x7f\x9b\u202e"), "^[[2J^G^M^H\\u7f\\u9b\\u202e");
  assert.doesNotMatch(harmless(ESCAPES), HARMFUL);
});

Deno.test("a hostile server's banner comes as plain ssh shows it, without escapes", async () => {
  await using sshd = await Sshd.start({ banner: `${ESCAPES}Welcome\n` });
  await using sandbox = await makeSandbox();
  const args = ["-F", sshd.config, "host", "true"];
  await sandbox.ssh(args); // "Permanently added ..."
  const plain = await sandbox.ssh(args);
  const shared = await sandbox.sshs(args);
  assert.equal(sandbox.masters().length, 1);
  assert.match(shared.stderr, /Welcome/);
  assert.equal(shared.stderr, plain.stderr);
  assert.doesNotMatch(shared.stderr.replaceAll("\u202e", ""), HARMFUL);
});

Deno.test("a hostile server's prompt is shown without escapes", async () => {
  await using sandbox = await makeSandbox();
  // In bash's and dash's octal, as ssh would pass on what a server sent (and more: ssh cleans it first).
  const prompt = "(me@host) \\033]0;owned\\007\\033[2J\\302\\2332J\\233\\342\\200\\256Code: ";
  await sandbox.fakeSsh(`case " $* " in
    *" -G "*) exec ${needProgram("ssh")} "$@" ;;
    *" -M "*) "$SSH_ASKPASS" "$(printf '${prompt}')" >'${sandbox.dir}/answer'; exit 255 ;;
  esac`);
  await using pty = await Pty.spawn(sandbox.argv(["host"]), { env: sandbox.env });
  await pty.waitFor("Code: ", DEADLINE);
  pty.write("123456\r");
  assert.equal((await pty.status).code, 255);
  assert.equal(Deno.readTextFileSync(`${sandbox.dir}/answer`), "123456\n");
  assert.match(pty.output, /\(me@host\) \^\[\]0;owned\^G\^\[\[2J/);
  assert.doesNotMatch(pty.output, HARMFUL);
});

Deno.test("a hostile name goes to the terminal without escapes in all that we print", async () => {
  await using sandbox = await makeSandbox();
  const host = `${ESCAPES}\nsshs: all is well`;
  await Deno.mkdir(`${sandbox.stateDir}/0123456789abcdef`, { recursive: true, mode: 0o700 });
  const record = { pid: Deno.pid, started: 0, linger: 600, maxSessions: 10, forwards: false };
  await Deno.writeTextFile(
    `${sandbox.stateDir}/0123456789abcdef/abcd.lane`,
    JSON.stringify({ ...record, destination: host, resolved: `me@${host}:22` }),
  );
  const calls: [string[], Record<string, string>?][] = [
    [["--list"]],
    [["--list", "--json"]],
    [["--why", host, "true"]],
    [["--why", "--json", host, "true"]],
    [["--stop", "another"]],
    [["--hold", host, "host"]],
    [["--warm", `--${host}`]],
    [[`--${host}`]],
    [["--why", "host"], { SSHS_DIR: host }],
    [["--list"], { SSHS_DIR: host }],
  ];
  for (const [args, env] of calls) {
    const { stdout, stderr } = await sandbox.sshs(args, { as: "sshs", env });
    assert.notEqual(stdout + stderr, "", args[0]);
    assert.doesNotMatch(stdout + stderr, HARMFUL, args.join(" "));
    // One line of ours stays one line: the text cannot speak in our name.
    assert.doesNotMatch(stdout + stderr, /^sshs: all is well/m, args.join(" "));
  }
});

Deno.test("the server gets no variable of the caller but what a session sends", async () => {
  await using sshd = await Sshd.start({ config: ["AcceptEnv *"] });
  const config = await sshd.writeConfig({ config: ["SendEnv MARK"] });
  await using sandbox = await makeSandbox();
  for (const mark of ["first", "second"]) {
    const { stdout } = await sandbox.sshs(["-F", config, "host", "env"], {
      env: { MARK: mark, TOKEN: "secret" },
    });
    assert.match(stdout, new RegExp(`^MARK=${mark}$`, "m"));
    assert.doesNotMatch(stdout, /secret|SSHS|ASKPASS/);
  }
  assert.equal(sshd.logins(), 1);
});

Deno.test("no value of a variable is written down", async () => {
  assert.equal(
    withoutValues('user me\nsetenv TOKEN=secret\nenvironment TOKEN "secret"\njump setenv A=b=c\n'),
    "user me\nsetenv TOKEN\nenvironment TOKEN\njump setenv A\n",
  );
  await using sshd = await Sshd.start({ config: ["AcceptEnv *"] });
  const config = await sshd.writeConfig({ config: ["SetEnv TOKEN=secret"] });
  await using sandbox = await makeSandbox();
  const { stdout } = await sandbox.sshs(["-F", config, "host", "echo $TOKEN"]);
  assert.equal(stdout, "secret\n");
  assert.ok(sandbox.files().some((file) => file.endsWith("/identity")));
  assert.deepEqual(tracesOf("secret", sandbox), []);
});

Deno.test("a master that forwards an agent or a display goes within one look and 2 s; one that does not lingers", async () => {
  await using sandbox = await makeSandbox();
  // A display needs no more than a cookie until somebody draws on it.
  const cookie = `:99 MIT-MAGIC-COOKIE-1 ${"5a".repeat(16)}`;
  const xauth = await sandbox.addProgram(
    "xauth",
    `if [ "$2" = - ]; then exec cat >/dev/null; fi; echo '${cookie}'`,
  );
  await using sshd = await Sshd.start({
    config: ["X11Forwarding yes", `XAuthLocation ${xauth}`],
    client: { config: [`XAuthLocation ${xauth}`] },
  });
  const agent = `${sandbox.dir}/agent`;
  await sandbox.run([needProgram("ssh-agent"), "-s", "-a", agent]);
  const call = async (args: string[], env: Record<string, string> = {}) => {
    const command = 'test -S "$SSH_AUTH_SOCK" && echo agent; echo "${DISPLAY:+display}"';
    const { stdout } = await sandbox.sshs(["-F", sshd.config, ...args, "host", command], {
      env: { SSH_AUTH_SOCK: agent, DISPLAY: ":99", ...env },
    });
    return stdout.trim();
  };
  assert.equal(await call([]), "");
  let logins = 1;
  for (const [flag, forwarded] of [["-A", "agent"], ["-X", "display"]]) {
    assert.equal(await call([flag]), forwarded);
    assert.equal(sshd.logins(), ++logins, `with ${flag} it is another connection`);
    assert.equal(sandbox.masters().length, 2);
    // A look is 3 s here, and as much again for a slow machine.
    await eventually(`the master of ${flag} is gone`, () => sandbox.masters().length === 1, {
      deadline: 10_000,
    });
    assert.equal(await call([]), "");
    assert.equal(sshd.logins(), logins, "the other is still there");
  }
  // Told to, it lingers.
  assert.equal(await call(["-A"], { SSHS_LINGER: "10m" }), "agent");
  assert.equal(await call(["-A"], { SSHS_LINGER: "10m" }), "agent");
  assert.equal(sshd.logins(), logins + 1);
});

Deno.test("a call that checks the host key does not ride on a login that did not", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await makeSandbox();
  const strict = await sshd.writeConfig({ hostKeyChecking: "yes" });
  const lax = [
    ...["-F", strict, "-o", "StrictHostKeyChecking=no"],
    ...["-o", "UserKnownHostsFile=/dev/null", "host", "true"],
  ];
  assert.equal((await sandbox.sshs(lax)).code, 0);
  assert.equal(sandbox.masters().length, 1);
  const { code, stderr } = await sandbox.sshs(["-F", strict, "host", "true"]);
  assert.equal(code, 255);
  assert.match(stderr, /Host key verification failed/);
});

// A hostile repository, configuration or environment

Deno.test("nothing in the current directory is loaded or run", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await makeSandbox();
  const repository = `${sandbox.dir}/repository`;
  await Deno.mkdir(`${repository}/node_modules/.bin`, { recursive: true });
  for (const name of ["deno.json", "package.json", "deno.lock", ".npmrc", ".env", "libc.so.6"]) {
    await Deno.writeTextFile(`${repository}/${name}`, "not what its name says");
  }
  for (const name of ["ssh", "deno", "sh", "sleep", "cat", "ps", "stty"]) {
    await Deno.writeTextFile(`${repository}/${name}`, `#!/bin/sh\ntouch '${sandbox.dir}/owned'\n`, {
      mode: 0o755,
    });
  }
  const child = sandbox.spawnSshs(["-F", sshd.config, "host", "cat"], { cwd: repository });
  const output = child.output();
  const stdin = child.stdin.getWriter();
  // With a libc of the repository's it would have been no exec.
  await eventually("the process has become ssh", () => {
    const args = sandbox.processes().find(({ pid }) => pid === child.pid)?.args;
    return args?.[0].endsWith("/ssh") && args.includes("-S");
  }, DEADLINE);
  await stdin.close();
  assert.equal((await output).code, 0);
  await eventually("the sleeper is awake", () => sandbox.sleepers().length > 0, DEADLINE);
  assert.equal(exists(`${sandbox.dir}/owned`), false);
});

Deno.test("a destination is never an option or a command, whoever wrote it", async () => {
  await using sandbox = await makeSandbox();
  const option = `-oProxyCommand=touch ${sandbox.dir}/owned`;
  for (
    const args of [
      ["--", option],
      ["--", option, "git-upload-pack 'x'"],
      ["-J", option, "host.invalid"],
      ["-J", `x;touch ${sandbox.dir}/owned`, "host.invalid"],
      ["-J", "jump.invalid", "--", `x'$(touch ${sandbox.dir}/owned)'`],
      [`ssh://${encodeURIComponent(option)}/`],
      [`$(touch ${sandbox.dir}/owned).invalid`],
    ]
  ) {
    const { code } = await sandbox.sshs(args);
    assert.equal(code, 255, args.join(" "));
    assert.equal(exists(`${sandbox.dir}/owned`), false, args.join(" "));
  }
});

Deno.test("no value of the environment is code", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await makeSandbox();
  const code = "';touch own;'$(touch own)";
  const state = `${sandbox.dir}/';$(touch own)`;
  const env = {
    SSHS_DIR: state,
    ...Object.fromEntries(
      ["SSHS_SSH", "SSHS_LINGER", "SSHS_MAX_SESSIONS", "SSHS_LOOK", "XDG_RUNTIME_DIR"]
        .map((name) => [name, code]),
    ),
  };
  for (let n = 0; n < 2; n++) {
    const { stdout, stderr } = await sandbox.sshs(["-F", sshd.config, "host", "echo it"], { env });
    assert.equal(stdout, "it\n");
    assert.doesNotMatch(stderr, /^sshs/m);
  }
  assert.equal(sshd.logins(), 1);
  await eventually("the sleeper is awake", () => sandbox.sleepers().length > 0, DEADLINE);
  for (const dir of [sandbox.home, "/", sandbox.dir, state]) {
    assert.equal(exists(`${dir}/own`), false, dir);
  }
});

// The relay of prompts, and the sleeper

Deno.test({
  name: "a typed password is in no file, argument or environment",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sshd = await Sshd.start({ passwords: true });
    await using sandbox = await makeSandbox();
    const password = sshd.user.password!;
    // What the shell that asks runs while it knows the answer tells its environment.
    const stty = needProgram("stty");
    await sandbox.addProgram("stty", `env >>'${sandbox.dir}/stty.log'\nexec ${stty} "$@"`);
    const env = { ...sandbox.env, answer: "exported", SHELLOPTS: "allexport" };
    const argv = sandbox.argv(["-F", sshd.config, "host", "echo logged in; read wait"]);
    await using pty = await Pty.spawn(argv, { env });
    await pty.waitFor("password: ", DEADLINE);
    assert.deepEqual(openToOthers(sandbox).filter((file) => !file.endsWith(".ask")), []);
    let watching = true;
    const found = new Set<string>();
    const watch = (async () => {
      while (watching) {
        for (const trace of tracesOf(password, sandbox)) found.add(trace);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    pty.write(`${password}\r`);
    await pty.waitFor("logged in", DEADLINE);
    watching = false;
    await watch;
    for (const trace of tracesOf(password, sandbox)) found.add(trace);
    assert.deepEqual([...found], []);
    assert.match(Deno.readTextFileSync(`${sandbox.dir}/stty.log`), /^SSHS_DIR=/m);
    assert.equal(pty.output.includes(password), false);
    // The way of the answer is gone as soon as there is nothing more to ask.
    assert.deepEqual(sandbox.files().filter((file) => /ask/.test(file)), []);
  },
});

/** Where a secret stands: which processes' arguments or environments, and which files. */
function tracesOf(secret: string, sandbox: Sandbox): string[] {
  const forms = [secret, new TextEncoder().encode(secret).toHex()];
  const has = (text: string) => forms.some((form) => text.includes(form));
  const running = sandbox.processes().filter(({ args, environ }) => has(args.join(" ") + environ));
  return [
    ...running.map(({ args }) => `process ${args[0]}`),
    ...[...sandbox.files().map((file) => `s/${file}`), "stty.log"].filter((file) => {
      try {
        return has(Deno.readTextFileSync(`${sandbox.dir}/${file}`));
      } catch {
        return false; // A socket or a directory, or gone already.
      }
    }),
  ];
}

Deno.test("the sleeper listens nowhere and holds nothing of the caller", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await makeSandbox();
  const call = sandbox.argv(["-F", sshd.config, "host", "true"]);
  const held = `${sandbox.dir}/held`;
  await Deno.writeTextFile(held, "");
  await sandbox.run(["sh", "-c", `exec 9<'${held}'; exec "$@"`, "sh", ...call]);
  const sleeper = await eventually("a sleeper", () => sandbox.sleepers()[0], DEADLINE);
  await eventually("it holds the lane", async () => {
    const files = await filesOf(sleeper.pid);
    return files.some((file) => file.startsWith("socket:"));
  }, DEADLINE);
  const files = await filesOf(sleeper.pid);
  assert.equal(files.includes(held), false);
  const listening = (await Deno.readTextFile(`/proc/${sleeper.pid}/net/unix`)).split("\n")
    // The flags of a socket that takes connections (__SO_ACCEPTCON), and its inode.
    .map((line) => line.trim().split(/\s+/)).filter(([, , , flags]) => flags === "00010000")
    .map((fields) => `socket:[${fields[6]}]`);
  assert.deepEqual(files.filter((file) => listening.includes(file)), []);
  assert.equal((await run("readlink", [`/proc/${sleeper.pid}/cwd`])).trim(), "/");
  for (const master of sandbox.masters()) {
    assert.equal((await filesOf(master.pid)).includes(held), false);
  }
});

Deno.test({
  name:
    "the sleeper opens no session and writes nowhere but in the state directory and Deno's cache",
  ignore: !findProgram("strace"),
  fn: async () => {
    await using sshd = await Sshd.start();
    await using sandbox = await makeSandbox();
    sandbox.env.SSHS_LINGER = "5";
    await sandbox.sshs(["-F", sshd.config, "host", "true"]);
    const [called] = await eventually("a sleeper", () => sandbox.sleepers(), DEADLINE);
    signal([called.pid], "SIGKILL");
    const trace = `${sandbox.dir}/trace`;
    const strace = ["strace", "-f", "-e", "trace=%file,%process", "-o", trace];
    const sleeper = sandbox.argv(["--sleeper", sandbox.stateDir], "sshs");
    assert.equal((await sandbox.run([...strace, ...sleeper])).code, 0);
    await sandbox.assertClean(DEADLINE);
    assert.equal(sshd.sessions(), 1);
    const lines = (await Deno.readTextFile(trace)).split("\n");
    const writes = lines.filter((line) => WRITES.test(line));
    const places = [`${sandbox.stateDir}/`, `${sandbox.env.DENO_DIR}/`];
    const within = (line: string) =>
      [...line.matchAll(/"([^"]*)"/g)].every(([, path]) =>
        places.some((place) => path.startsWith(place))
      );
    assert.ok(writes.some(within));
    assert.deepEqual(writes.filter((line) => !within(line)), []);
  },
});

/** A line of strace(1) that tells of a call that makes, changes or removes a file. */
const WRITES =
  /^\d+ +((creat|mk|rm|unlink|rename|link|symlink|truncate|chmod|chown|fchmod|fchown|utime)\w*\(|open(at)?\(.*O_(WRONLY|RDWR|CREAT|TRUNC))/;

async function filesOf(pid: number): Promise<string[]> {
  const names = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => name);
  const links = names.map((name) => Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => ""));
  return await Promise.all(links);
}

Deno.test("SECURITY.md names tests that there are", async () => {
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
