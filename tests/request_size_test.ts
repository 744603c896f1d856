import assert from "node:assert/strict";
import { parseConfigDump } from "../lib/ssh/config_dump.ts";
import { fitsRequest, sentNames, SMALL_ENVIRONMENT } from "../lib/ssh/request_size.ts";
import { eventually } from "./support/eventually.ts";
import { isThere } from "./support/is_there.ts";
import { needProgram } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const KIB = 1024;

Deno.test("fitsRequest counts the command and the variables that are sent", () => {
  const large = { BIG_1: "x".repeat(120 * KIB), BIG_2: "x".repeat(120 * KIB), OTHER: "y" };
  const euros = { BIG_1: "€".repeat(90 * KIB) };
  const rows: [dump: string, env: Record<string, string>, command: string[], fits: boolean][] = [
    ["", large, [], true],
    ["sendenv LANG\nsendenv LC_*", large, [], true],
    ["sendenv BIG_*", large, [], true],
    ["sendenv BIG_*", { ...large, BIG_3: "x".repeat(20 * KIB) }, [], false],
    ["sendenv *", { ...large, Z: "x".repeat(20 * KIB) }, [], false],
    ["sendenv OTHER", { ...large, BIG_33: "x".repeat(20 * KIB) }, [], true],
    ["sendenv BIG_1", euros, [], false],
    ["sendenv BIG.1", euros, [], true],
    [`setenv A=${"x".repeat(255 * KIB)}`, {}, [], false],
    ["", {}, ["echo", "x".repeat(255 * KIB)], false],
    ["", {}, ["echo", "x".repeat(200 * KIB)], true],
  ];
  for (const [dump, env, command, fits] of rows) {
    const what = `${dump.slice(0, 20)} ${Object.keys(env)}`;
    assert.equal(
      fitsRequest(command, parseConfigDump(dump, ""), env),
      fits,
      what,
    );
  }
});

Deno.test("sentNames names the variables that a plan must measure", () => {
  const rows: [dump: string, expected: string[] | "all"][] = [
    ["", []],
    ["sendenv LANG\nsendenv LC_*\nsendenv LC_ALL", []],
    ["sendenv LANG\nsendenv A\nsendenv GIT_PROTOCOL", ["A", "GIT_PROTOCOL"]],
    ["sendenv A\nsendenv *", "all"],
    ["sendenv GIT_*", "all"],
    ["sendenv A?", "all"],
  ];
  for (const [dump, expected] of rows) {
    assert.deepEqual(sentNames(parseConfigDump(dump, "")), expected, dump);
  }
});

Deno.test("a master accepts what fitsRequest lets through", async () => {
  await using sshd = await Sshd.start({ config: ["AcceptEnv *"] });
  await using sandbox = await Sandbox.create();
  const socket = `${sandbox.dir}/master`;
  const master = sandbox.spawn([
    ...[needProgram("ssh"), "-M", "-N", "-S", socket, "-F", sshd.config, "-oSendEnv=*", "host"],
  ]);
  await eventually("the master listens", () => isThere(socket));
  const config = parseConfigDump("sendenv BIG_*", "");
  // Just below and well above what it accepts.
  for (const [last, fits] of [[53, true], [70, false]] as const) {
    const env = {
      ...{ BIG_1: "x".repeat(100 * KIB), BIG_2: "x".repeat(98 * KIB) },
      BIG_3: "x".repeat(last * KIB),
    };
    const options = ["-F", sshd.config, "-S", socket, "-oControlMaster=no", "-oSendEnv=BIG_*"];
    const { code } = await sandbox.ssh([...options, "host", "true"], { env });
    assert.equal(fitsRequest(["true"], config, env), fits, `${last}`);
    assert.equal(code, fits ? 0 : 255, `${last}`);
  }
  assert.ok(SMALL_ENVIRONMENT * 4 < 256 * KIB);
  await sandbox.ssh(["-F", sshd.config, "-S", socket, "-Oexit", "host"]);
  await Promise.all([
    master.status,
    master.stdin.close(),
    master.stdout.cancel(),
    master.stderr.cancel(),
  ]);
});
