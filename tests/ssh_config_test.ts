import assert from "node:assert/strict";
import { parseSshArgs, type SshCall } from "../lib/ssh/arguments.ts";
import {
  connectionOptions,
  dumpArguments,
  isUntrustedX11,
  keyOf,
  parseConfigDump,
  readConfig,
  slowExec,
  TOKENS_PATH,
} from "../lib/ssh/configuration.ts";
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

Deno.test("dumpArguments leaves out the session's options and keeps the order of the rest", () => {
  const rows: [argv: string[], expected: string[]][] = [
    [["host"], ["-G", "-v", "--", "host"]],
    [["-p22", "host", "ls", "-l"], ["-G", "-v", "-p", "22", "--", "host", "ls", "-l"]],
    [["-qvvtTnNfsy", "-E", "log", "-e", "none", "-W", "a:1", "host"], ["-G", "-v", "--", "host"]],
    [["-4Ai", "id", "host", "-oA=b"], [
      "-G",
      "-v",
      "-4",
      "-A",
      "-i",
      "id",
      "-o",
      "A=b",
      "--",
      "host",
    ]],
    [["-", "-x"], ["-G", "-v", "-x", "--", "-"]],
    // The destination comes first there, and the first value wins.
    [["ann@host", "-l", "bob", "-oUser=c", "-p", "1"], ["-G", "-v", "-p", "1", "--", "ann@host"]],
    [["-l", "bob", "ann@host"], ["-G", "-v", "-l", "bob", "--", "ann@host"]],
    [["ssh://host:22", "-p", "23", "-oPort=24", "-l", "a"], [
      "-G",
      "-v",
      "-l",
      "a",
      "--",
      "ssh://host:22",
    ]],
  ];
  for (const [argv, expected] of rows) {
    const [first, second, ...rest] = expected;
    const asked = ["-o", `ControlPath=${TOKENS_PATH}`];
    const words = [first, second, ...asked, ...rest];
    assert.deepEqual(dumpArguments(callOf(...argv)), words, argv.join(" "));
  }
  // A command to a master needs the user's own ControlPath.
  assert.deepEqual(dumpArguments(callOf("-O", "check", "host")), [
    ...["-G", "-v", "-O", "check", "--", "host"],
  ]);
});

Deno.test("dumpArguments makes ssh -G print what it prints for the call itself", async () => {
  await using temp = await files({ config: "Host *.example\n User fromfile\n SendEnv X\n" });
  const session = [
    ...["requesttty", "sessiontype", "stdinnull", "forkafterauthentication", "loglevel"],
    ...["clearallforwardings", "exitonforwardfailure", "escapechar", "controlpath"],
  ];
  const dump = async (argv: string[]): Promise<string[]> => {
    const { code, stdout, stderr } = await realSystem.run(needProgram("ssh"), argv);
    assert.equal(code, 0, `ssh ${argv.join(" ")}: ${stderr}`);
    return stdout.split("\n").filter((line) => !session.includes(keyOf(line)));
  };
  for (
    const argv of [
      ["-p22", "-qt", "a.example", "ls", "-l"],
      ["ann@a.example", "-l", "bob", "-p", "2200", "--", "-x"],
      ["ssh://ann@a.example:23", "-p", "24", "-oUser=bob", "-T"],
      ["-f", "-W", "a:1", "-e", "none", "a.example"],
      ["-s", "-vvv", "-oRequestTTY=force", "-C", "-4", "-X", "-A", "a.example", "sftp"],
      ["-oHostName other", "-J", "jump:1", "-i", "/dev/null", "--", "a.example", "x"],
    ]
  ) {
    const own = ["-F", `${temp.dir}/config`, ...argv];
    assert.deepEqual(
      await dump(dumpArguments(callOf(...own))),
      await dump(["-G", ...own]),
      `${argv}`,
    );
  }
});

Deno.test("connectionOptions keeps the connection's options and drops the session's and ours", () => {
  const rows: [argv: string[], expected: string[]][] = [
    [["host", "ls"], []],
    [["-tTnNfsye", "none", "-E", "log", "-W", "a:1", "host"], []],
    [["-qvv", "-4p22", "host", "-A"], ["-q", "-v", "-v", "-4", "-p", "22", "-A"]],
    [["-F", "c", "-i", "id", "-J", "j", "-X", "-C", "host"], [
      "-F",
      "c",
      "-i",
      "id",
      "-J",
      "j",
      "-X",
      "-C",
    ]],
    // A master listens for other machines only if it was started with -g.
    [["-D", "1", "-L", "1:a:2", "-R", "1:a:2", "-g", "-S", "x", "-M", "host"], ["-g"]],
    [
      ["-oBatchMode=yes", "-oSetEnv=A=b", "-oTag=x", "host"],
      ["-o", "BatchMode=yes", "-o", "SetEnv=A=b", "-o", "Tag=x"],
    ],
    [
      ["-o", "RequestTTY no", "-oremotecommand=x", "-oSendEnv=A", "-oControlMaster=no", "host"],
      [],
    ],
    [["-oControlPersist=5", "-oPermitLocalCommand=no", "-oClearAllForwardings=yes", "host"], []],
    [["ann@host", "-l", "bob"], []],
    [["-l", "-x", "host"], ["-l", "-x"]],
  ];
  for (const [argv, expected] of rows) {
    const options = connectionOptions(callOf(...argv));
    assert.deepEqual(options, ["-o", "SendEnv=*", ...expected], argv.join(" "));
  }
});

Deno.test("connectionOptions leaves out further letters without changing which value wins", () => {
  const call = callOf("-J", "jump", "-4", "ann@host", "-l", "bob");
  assert.deepEqual(connectionOptions(call, "J"), ["-o", "SendEnv=*", "-4"]);
});

Deno.test("connectionOptions makes a master pass on what each session sends", async () => {
  await using sshd = await Sshd.start({ config: ["AcceptEnv *"] });
  await using sandbox = await Sandbox.create();
  const ssh = needProgram("ssh");
  const socket = `${sandbox.dir}/master`;
  const options = connectionOptions(callOf("-F", sshd.config, "-oSendEnv=OTHER", "host"));
  const master = sandbox.spawn([ssh, "-M", "-N", "-S", socket, ...options, "--", "host"]);
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
  assert.match(slowExec(slow.config, slow.took)!, /^a Match exec takes \d\.\d s/);
  assert.equal(slow.config.warnings.length, 1);
  assert.match(
    slow.config.warnings[0],
    /config line 2: Unsupported option "kerberosauthentication"$/i,
  );
  const quick = await ask("quick");
  assert.deepEqual(quick.config.warnings, []);
  assert.equal(slowExec(quick.config, 100), undefined);
  // Slow, but not because of what the session would run again.
  assert.equal(slowExec((await ask("plain")).config, 5000), undefined);
});

Deno.test("isUntrustedX11 recognizes what lasts only for a time", () => {
  const rows: [dump: string, expected: boolean][] = [
    ["forwardx11 yes\nforwardx11trusted no\nforwardx11timeout 1200", true],
    ["forwardx11 yes\nforwardx11trusted no\nforwardx11timeout 0", false],
    ["forwardx11 yes\nforwardx11trusted yes\nforwardx11timeout 1200", false],
    ["forwardx11 no\nforwardx11trusted no\nforwardx11timeout 1200", false],
    ["", false],
  ];
  for (const [dump, expected] of rows) {
    assert.equal(isUntrustedX11(parseConfigDump(dump, "")), expected, dump);
  }
});
