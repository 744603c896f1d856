import assert from "node:assert/strict";
import { parseSshArgs } from "../lib/ssh/arguments.ts";
import type { SshConfig } from "../lib/ssh/config_dump.ts";
import { readConfig } from "../lib/ssh/configuration.ts";
import { shortDigest } from "../lib/ssh/digest.ts";
import { environmentNames, REDIRECTING } from "../lib/ssh/environment.ts";
import { type IdentityContext, identityText, sharesAgentOrDisplay } from "../lib/ssh/identity.ts";
import { dependsOnDirectory } from "../lib/ssh/connection_lines.ts";
import { realSystem } from "../lib/os/system.ts";
import { needProgram } from "./support/programs.ts";

/** Where a call is made from, as far as it is not the default below. */
interface Where extends Partial<Omit<IdentityContext, "environment">> {
  env?: Record<string, string>;
}

/** A configuration to make calls with; -F keeps the tester's own out. */
class Caller implements AsyncDisposable {
  private constructor(readonly dir: string) {}

  static async create(text: string): Promise<Caller> {
    const caller = new Caller(await Deno.makeTempDir());
    await Deno.writeTextFile(`${caller.dir}/config`, text);
    return caller;
  }

  async config(...argv: string[]): Promise<SshConfig> {
    const args = parseSshArgs(["-F", `${this.dir}/config`, ...argv]);
    assert.ok(args.kind === "call", argv.join(" "));
    const answer = await readConfig(needProgram("ssh"), args, realSystem);
    assert.ok(answer.kind === "config", JSON.stringify(answer));
    return answer.config;
  }

  async identity(argv: string[], where: Where = {}): Promise<string> {
    const args = parseSshArgs(argv);
    assert.ok(args.kind === "call", argv.join(" "));
    return identityText(await this.config(...argv), {
      ...{ ssh: "/usr/bin/ssh", job: "", spaces: "", uid: 1000 },
      destination: args.destination,
      cwd: "/home/ann",
      ...where,
      environment: where.env ?? { SSH_AUTH_SOCK: "/agent" },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

const HOSTS = `
Host one two
  HostName h.example
  User ann
`;

Deno.test("identityText is the same for calls that ssh connects for alike", async () => {
  await using caller = await Caller.create(HOSTS);
  const expected = await caller.identity(["one"]);
  const rows: [argv: string[], where?: Where][] = [
    [["two"]],
    [["ann@h.example"]],
    [["ann@H.EXAMPLE"]],
    [["ssh://ann@h.example:22"]],
    [["-p22", "-lann", "h.example", "ls"]],
    [["-vvv", "one"]],
    [["-qtt", "one", "-n"]],
    [["-T", "-e", "none", "one", "--", "ls"]],
    [["-s", "one", "sftp"]],
    [["-W", "a:22", "one"]],
    [["-a", "-x", "one"]],
    [["-oRequestTTY=force", "-oLogLevel=DEBUG3", "-oEscapeChar=none", "one"]],
    [["-oSendEnv=GIT_PROTOCOL", "one"]],
    [["-oBatchMode=yes", "one"]],
    [["-oConnectTimeout=5", "-oConnectionAttempts=3", "-oNumberOfPasswordPrompts=1", "one"]],
    [["-oControlMaster=no", "-oControlPersist=9", "-oVisualHostKey=yes", "one"]],
    [["-oRemoteCommand=x", "-oPermitLocalCommand=yes", "-oClearAllForwardings=yes", "one"]],
    // No X11, Kerberos or relative path is used.
    [["one"], {
      cwd: "/",
      env: { SSH_AUTH_SOCK: "/agent", DISPLAY: ":1", KRB5CCNAME: "c", XAUTHORITY: "x" },
    }],
  ];
  for (const [argv, where] of rows) {
    assert.equal(await caller.identity(argv, where), expected, argv.join(" "));
  }
});

Deno.test("identityText parts what ssh connects for differently", async () => {
  await using caller = await Caller.create(HOSTS);
  const rows: [argv: string[], where?: Where][] = [
    [["one"]],
    [["h.example"]],
    [["bob@one"]],
    [["-p", "2200", "one"]],
    [["-i", "/dev/null", "one"]],
    [["-A", "one"]],
    // -Y is -X where ForwardX11Trusted is on by default, as on Debian.
    [["-X", "-oForwardX11Trusted=no", "one"]],
    [["-X", "-oForwardX11Trusted=yes", "one"]],
    [["-C", "one"]],
    [["-4", "one"]],
    [["-b", "127.0.0.1", "one"]],
    [["-J", "jump", "one"]],
    [["-J", "ann@jump", "one"]],
    [["-oProxyCommand=nc %h %p", "one"]],
    [["-oUserKnownHostsFile=/dev/null", "one"]],
    [["-oStrictHostKeyChecking=no", "one"]],
    [["-oHostKeyAlias=other", "one"]],
    [["-oIdentityAgent=/other", "one"]],
    [["-oIdentityAgent=none", "one"]],
    [["-oServerAliveInterval=5", "one"]],
    [["-oIPQoS=none", "one"]],
    // A master sends its own SetEnv with every session.
    [["-oSetEnv=A=b", "one"]],
    [["one"], { env: { SSH_AUTH_SOCK: "/other" } }],
    [["one"], { env: {} }],
    [["one"], { ssh: "/opt/ssh" }],
    [["one"], { spaces: "net:[1] user:[1]" }],
    [["one"], { spaces: "net:[1] user:[2]" }],
    [["one"], { uid: 0 }],
    [["one"], { job: "cron.service" }],
    [["one"], { tickets: "alice@R" }],
    [["one"], { keys: "0123" }],
  ];
  const seen = new Map<string, string>();
  for (const [argv, where] of rows) {
    const text = await caller.identity(argv, where);
    const name = `${argv.join(" ")} ${JSON.stringify(where) ?? ""}`;
    assert.equal(seen.get(text), undefined, name);
    seen.set(text, name);
  }
});

Deno.test("identityText depends on a variable if ssh would read it", async () => {
  const rows: [options: string[], names: string[]][] = [
    [[], ["SSH_AUTH_SOCK"]],
    [["-A"], ["SSH_AUTH_SOCK"]],
    [["-oIdentityAgent=SSH_AUTH_SOCK"], ["SSH_AUTH_SOCK"]],
    [["-oIdentityAgent=none"], []],
    [["-oIdentityAgent=/x"], []],
    [["-oIdentityAgent=$AGENT"], ["AGENT"]],
    [["-oIdentityAgent=/x", "-Jjump"], ["SSH_AUTH_SOCK"]],
    [["-oIdentityAgent=/x", "-oProxyCommand=nc -x ${PROXY} $X"], ["PROXY", "SSH_AUTH_SOCK", "X"]],
    [["-X"], ["DISPLAY", "SSH_AUTH_SOCK", "XAUTHORITY"]],
    [["-K"], ["KRB5CCNAME", "KRB5_CONFIG", "SSH_AUTH_SOCK"]],
    [["-oIdentityFile=${KEYS}/id"], ["KEYS", "SSH_AUTH_SOCK"]],
    [["-oLocalCommand=echo $HOME", "-oRemoteCommand=echo $HOME"], ["SSH_AUTH_SOCK"]],
  ];
  await using caller = await Caller.create("GSSAPIAuthentication no\n");
  for (const [options, names] of rows) {
    const config = await caller.config(...options, "host");
    // An ssh without GSSAPI does not know -K, and says so; then there is nothing to compare.
    if (options[0] === "-K" && config.get("gssapiauthentication") !== "yes") continue;
    const all = [...names, ...REDIRECTING].sort();
    assert.deepEqual(environmentNames(config, {}, { hasJump: true }), all, options.join(" "));
    const before = await caller.identity([...options, "host"], { env: {} });
    for (const name of names) {
      const after = await caller.identity([...options, "host"], { env: { [name]: "a\nb" } });
      assert.notEqual(after, before, `${name} with ${options.join(" ")}`);
    }
  }
});

Deno.test("identityText depends on which program PATH finds for a ProxyCommand", async () => {
  await using caller = await Caller.create("");
  const dirs = [await Deno.makeTempDir(), await Deno.makeTempDir()];
  try {
    for (const dir of dirs) await Deno.writeTextFile(`${dir}/tunnel`, "", { mode: 0o755 });
    const PATH = dirs.join(":");
    const identity = (command: string) =>
      caller.identity([`-oProxyCommand=${command}`, "host"], { env: { PATH } });
    const commands = ["tunnel %h %p", "exec tunnel %h %p", `${dirs[1]}/tunnel %h %p`];
    const before = await Promise.all(commands.map(identity));
    await Deno.remove(`${dirs[0]}/tunnel`);
    const after = await Promise.all(commands.map(identity));
    assert.deepEqual(after.map((text, i) => text === before[i]), [false, false, true]);
  } finally {
    for (const dir of dirs) await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("identityText contains the destination as written only if a value uses it", async () => {
  const rows: [options: string[], alike: boolean][] = [
    [["-oProxyCommand=nc %h %p"], true],
    [["-oProxyCommand=nc %n %p"], false],
    [["-oProxyCommand=nc %%n %p"], true],
    [["-oIdentityFile=~/.ssh/%n"], false],
    [["-oIdentityFile=~/.ssh/%k"], false],
    [["-oIdentityFile=~/.ssh/%k", "-oHostKeyAlias=h"], true],
    [["-oUserKnownHostsFile=/known/%n"], false],
    [["-oLocalCommand=echo %n"], true],
  ];
  await using caller = await Caller.create(HOSTS);
  for (const [options, alike] of rows) {
    const [one, two] = [
      await caller.identity([...options, "one"]),
      await caller.identity([...options, "two"]),
    ];
    assert.equal(one === two, alike, options.join(" "));
  }
});

Deno.test("identityText differs if a library or a name table may redirect the connection", async () => {
  await using caller = await Caller.create("");
  const plain = await caller.identity(["host"], { env: {} });
  for (const name of REDIRECTING) {
    assert.notEqual(await caller.identity(["host"], { env: { [name]: "/x" } }), plain, name);
  }
});

Deno.test("identityText contains the directory only if a path is relative to it", async () => {
  const rows: [options: string[], depends: boolean][] = [
    [[], false],
    [["-oIdentityFile=id"], true],
    [["-oIdentityFile=%h"], true],
    [["-oIdentityFile=%d/id"], false],
    [["-oIdentityFile=~/id", "-oCertificateFile=/id"], false],
    [["-oCertificateFile=id"], true],
    [["-oUserKnownHostsFile=~/a b"], true],
    [["-oUserKnownHostsFile=none", "-oIdentityAgent=none", "-oForwardAgent=yes"], false],
    [["-oProxyCommand=nc -x proxy:1080 %h %p"], false],
    [["-oProxyCommand=./proxy %h"], true],
    [["-oProxyCommand=exec bin/proxy %h"], true],
    [["-oProxyCommand=proxy --config=conf/x"], true],
    [["-oProxyCommand=python3 relay.py %h %p"], true],
    [["-oProxyCommand=exec node --quiet relay.js %h"], true],
    [["-oProxyCommand=python3 /opt/relay.py %h"], false],
    [["-oProxyCommand=relay.sh %h"], false],
    [["-oProxyCommand=nc -x proxy.example.pl:1080 %h %p"], false],
    [["-oProxyCommand=sh -c 'nc %h.example.sh %p'"], false],
    [["-oProxyCommand='/usr/bin/x' -oA=/dev/null http://p/q 2>/dev/null"], false],
    [["-oPKCS11Provider=lib.so"], false],
    [["-oPKCS11Provider=lib/x.so"], true],
    [["-oControlPath=sock"], false],
  ];
  await using caller = await Caller.create(HOSTS);
  for (const [options, depends] of rows) {
    const argv = [...options, "one"];
    const config = await caller.config(...argv);
    assert.equal(dependsOnDirectory(config, "/nowhere"), depends, options.join(" "));
    const here = await caller.identity(argv, { cwd: "/a" });
    assert.equal(here !== await caller.identity(argv, { cwd: "/b" }), depends, options.join(" "));
  }
  const options = ["-oProxyCommand=tunnel --targets=targets.yml %h %p", "one"];
  assert.equal(dependsOnDirectory(await caller.config(...options), caller.dir), false);
  await Deno.writeTextFile(`${caller.dir}/targets.yml`, "");
  assert.equal(dependsOnDirectory(await caller.config(...options), caller.dir), true);
});

Deno.test("identityText has the whole environment but the session's own, for a program of the user's", async () => {
  await using caller = await Caller.create("");
  const programs = ["ProxyCommand=x %h", "KnownHostsCommand=/x", "PKCS11Provider=/x.so"];
  for (const option of programs) {
    const identity = (env: Record<string, string>) =>
      caller.identity(["-o", option, "host"], { env });
    const plain = await identity({});
    assert.notEqual(await identity({ UNHEARD_OF: "1" }), plain, option);
    assert.equal(await identity({ TERM: "x", LC_ALL: "C", GIT_DIR: "/", PWD: "/" }), plain, option);
  }
  const none = await caller.identity(["host"], { env: {} });
  assert.equal(await caller.identity(["host"], { env: { UNHEARD_OF: "1" } }), none);
});

Deno.test("shortDigest hashes a text to 16 hex digits", async () => {
  assert.equal(await shortDigest("abc"), "ba7816bf8f01cfea");
});

Deno.test("sharesAgentOrDisplay tells whether a master could open the agent or display to the server", async () => {
  await using caller = await Caller.create("");
  const rows: [options: string[], expected: boolean][] = [
    [["-a", "-x"], false],
    [["-A"], true],
    [["-oForwardAgent=$AGENT"], true],
    [["-X"], true],
    [["-Y"], true],
  ];
  for (const [options, expected] of rows) {
    const config = await caller.config(...options, "host");
    assert.equal(sharesAgentOrDisplay(config), expected, options.join(" "));
  }
});
