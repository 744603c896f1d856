import assert from "node:assert/strict";
import { parseSshArgs, type SshCall } from "../lib/ssh/arguments.ts";
import { parseConfigDump } from "../lib/ssh/config_dump.ts";
import { connectionWords, dumpArguments, readConfig } from "../lib/ssh/configuration.ts";
import { realSystem } from "../lib/os/system.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { endAll } from "./support/processes.ts";
import { needProgram } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

function callOf(...argv: string[]): SshCall {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") throw new Error(`Cannot use ${argv.join(" ")}: ${args.kind}`);
  return args;
}

/** Makes a temporary directory with a file for each text, removed when the test ends. */
async function files(texts: Record<string, string>): Promise<AsyncDisposable & { dir: string }> {
  const dir = await Deno.makeTempDir();
  for (const [name, text] of Object.entries(texts)) {
    await Deno.writeTextFile(`${dir}/${name}`, text);
  }
  return { dir, [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }) };
}

Deno.test("parseConfigDump finds first and further values by lower-case keywords", () => {
  const dump =
    "user ann\nidentityfile a b\nidentityfile c\ncanonicalizePermittedcnames none\nempty \n";
  const config = parseConfigDump(dump, "");
  assert.equal(config.get("user"), "ann");
  assert.equal(config.get("identityfile"), "a b");
  assert.deepEqual(config.all("identityfile"), ["a b", "c"]);
  assert.equal(config.get("canonicalizepermittedcnames"), "none");
  assert.equal(config.get("empty"), "");
  assert.equal(config.get("port"), undefined);
  assert.deepEqual(config.all("port"), []);
  assert.deepEqual(config.files, []);
});

Deno.test("parseConfigDump takes file names, each once, only from ssh's -v messages", () => {
  const stderr = "debug1: Reading configuration data /a\\303\\251 b\\\\c\r\n" +
    "debug1: Reading configuration data /d\r\ndebug1: Reading configuration data /d\r\n" +
    "debug1: /d line 1: Applying options for *\nReading configuration data /e\n";
  assert.deepEqual(parseConfigDump("", stderr).files, ["/aé b\\c", "/d"]);
});

Deno.test("dumpArguments asks with the user's own ControlPath for a command to a master", () => {
  assert.deepEqual(dumpArguments(callOf("-O", "check", "host")), [
    ...["-G", "-v", "-O", "check", "host"],
  ]);
});

Deno.test("connectionWords keeps the connection's options in place and drops the session's", () => {
  const rows: [argv: string[], expected: string[]][] = [
    [["host", "ls"], ["host"]],
    [["-tTnNfsye", "none", "-E", "log", "-W", "a:1", "host"], ["host"]],
    [["-qvv", "-4p22", "host", "-A", "--", "-x"], ["-q", "-4p22", "host", "-A", "--"]],
    [["-F", "c", "-tXi", "id", "-J", "j", "host"], ["-F", "c", "-Xi", "id", "-J", "j", "host"]],
    // A master listens for other machines only if it was started with -g.
    [["-D", "1", "-L", "1:a:2", "-R", "1:a:2", "-g", "-S", "x", "-M", "host"], ["-g", "host"]],
    [["ann@host", "-l", "bob"], ["ann@host", "-l", "bob"]],
    [["-l", "-x", "host"], ["-l", "-x", "host"]],
  ];
  for (const [argv, expected] of rows) {
    const words = connectionWords(callOf(...argv));
    assert.deepEqual(words, ["-o", "SendEnv=*", ...expected], argv.join(" "));
  }
  assert.deepEqual(connectionWords(callOf("-4J", "jump", "host"), "J").slice(2), ["-4", "host"]);
});

Deno.test("connectionWords makes a master pass on what each session sends", async () => {
  await using sshd = await Sshd.start({ config: ["AcceptEnv *"] });
  await using sandbox = await Sandbox.create();
  const ssh = needProgram("ssh");
  const socket = `${sandbox.dir}/master`;
  const options = connectionWords(callOf("-F", sshd.config, "-oSendEnv=OTHER", "host"));
  const master = sandbox.spawn([ssh, "-M", "-N", "-S", socket, ...options]);
  await eventually("the master listens", () => isThere(socket));
  const sent = async (...argv: string[]): Promise<string> => {
    const call = ["-F", sshd.config, "-S", socket, ...argv, "host", 'echo "<$ONE$TWO>"'];
    return (await sandbox.ssh(call, { env: { ONE: "one", OTHER: "other" } })).stdout;
  };
  assert.equal(await sent("-oControlMaster=no"), "<>\n");
  assert.equal(await sent("-oSendEnv=ONE", "-oSetEnv=TWO=two"), "<onetwo>\n");
  assert.equal(sshd.logins(), 1);
  // One SIGTERM may not be enough: ssh may lose it just before it waits (client_loop() in clientloop.c).
  await endAll([master.pid]);
  await Promise.all([
    master.status,
    master.stdin.close(),
    master.stdout.cancel(),
    master.stderr.cancel(),
  ]);
});

Deno.test("readConfig returns the configuration and each file that ssh read", async () => {
  await using temp = await files({ "my cönfig": "", inner: "Host alias\n Port 2200\n" });
  const path = `${temp.dir}/my cönfig`;
  await Deno.writeTextFile(path, `Include ${temp.dir}/inner\nMatch final\n User ann\n`);
  // What would silence -v has no effect.
  const call = callOf("-q", "-oLogLevel=QUIET", "-E/dev/null", "-F", path, "alias");
  const answer = await readConfig(needProgram("ssh"), call, realSystem);
  assert.ok(answer.kind === "config");
  assert.equal(answer.config.get("port"), "2200");
  assert.equal(answer.config.get("user"), "ann");
  assert.deepEqual(answer.config.files, [path, `${temp.dir}/inner`]);
});

Deno.test("readConfig returns ssh's own reason if there is no configuration", async () => {
  await using temp = await files({ config: "Prot 22\n" });
  const rows: [argv: string[], reason: RegExp][] = [
    [["-F", `${temp.dir}/config`, "host"], /config: terminating, 1 bad configuration options$/],
    [["-F", "none", "-oPort=x", "host"], /^command-line line 0: Bad port/],
    [["-F", "none", "-p", "x", "host"], /^Bad port 'x'$/],
  ];
  for (const [argv, reason] of rows) {
    const answer = await readConfig(needProgram("ssh"), callOf(...argv), realSystem);
    assert.ok(answer.kind === "failed", argv.join(" "));
    assert.match(answer.reason, reason);
  }
});

Deno.test("readConfig marks the ssh that it runs, and returns its status if it prints no reason", async () => {
  const seen: unknown[] = [];
  const answer = await readConfig("/x/ssh", callOf("host"), {
    run(path, args, options) {
      seen.push(path, args, options?.env);
      return Promise.resolve({ code: 3, stdout: "", stderr: "debug1: Reading ...\r\n" });
    },
  });
  assert.deepEqual(seen, ["/x/ssh", dumpArguments(callOf("host")), { SSHS_INSIDE: "/x/ssh" }]);
  assert.deepEqual(answer, { kind: "failed", reason: "ssh -G ended with 3" });
});

Deno.test("readConfig returns the tokens, but not the option that asks for them", async () => {
  const call = callOf("-F", "none", "-p", "77", "-l", "ann", "host.example");
  const answer = await readConfig(needProgram("ssh"), call, realSystem);
  assert.ok(answer.kind === "config");
  const { tokens, lines } = answer.config;
  assert.equal(tokens.get("h"), "host.example");
  assert.equal(tokens.get("p"), "77");
  assert.equal(tokens.get("r"), "ann");
  assert.match(tokens.get("C")!, /^[0-9a-f]{40}$/);
  assert.ok(lines.every((line) => !line.startsWith("controlpath")));
});

Deno.test("readConfig returns what ran, how long it took, and ssh's warnings", async () => {
  await using temp = await files({
    config: 'Match exec "sleep 0.5"\n KerberosAuthentication yes\nMatch exec "false"\n Port 1\n',
    quick: 'Match exec "true"\n User ann\n',
    plain: "Host *\n User ann\n",
  });
  const ask = async (name: string) => {
    const argv = ["-F", `${temp.dir}/${name}`, "host"];
    const answer = await readConfig(needProgram("ssh"), callOf(...argv), realSystem);
    assert.ok(answer.kind === "config");
    return answer;
  };
  const slow = await ask("config");
  assert.deepEqual(slow.config.execs, ["sleep 0.5", "false"]);
  assert.ok(slow.took >= 500);
  assert.equal(slow.config.warnings.length, 1);
  assert.match(
    slow.config.warnings[0],
    /config line 2: Unsupported option "kerberosauthentication"$/i,
  );
  const quick = await ask("quick");
  assert.deepEqual(quick.config.warnings, []);
  assert.deepEqual((await ask("plain")).config.execs, []);
});
