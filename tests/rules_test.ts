import assert from "node:assert/strict";
import type { Direct } from "../lib/call/decision.ts";
import { directByConfig, directByWords, lingerOf, putMasterAside } from "../lib/call/rules.ts";
import { parseSettings, settingsFor } from "../lib/call/settings.ts";
import { parseSshArgs } from "../lib/ssh/arguments.ts";
import { parseConfigDump, versionOf } from "../lib/ssh/config_dump.ts";

/** Parses the words after `ssh`, separated by blanks. */
function argsOf(text: string) {
  return parseSshArgs(text.split(" ").filter(Boolean));
}

function callOf(text: string) {
  const args = argsOf(text);
  assert.equal(args.kind, "call", text);
  return args as Extract<typeof args, { kind: "call" }>;
}

/** Returns "share", or why the call goes direct. */
function outcome(direct: Direct | undefined): string {
  return direct?.reason ?? "share";
}

const ARGS: readonly (readonly [args: string, outcome: string | RegExp])[] = [
  ["host", "share"],
  ["host ls -L", "share"],
  ["user@host", "share"],
  ["ssh://user@host:22", "share"],
  ["-t host", "share"],
  ["-tt host top", "share"],
  ["-T host", "share"],
  ["-n host true", "share"],
  ["-f host sleep 5", /^-f goes to the background/],
  ["-s host sftp", "share"],
  ["-W target:22 host", "share"],
  ["-X host", "share"],
  ["-Y host", "share"],
  ["-A host", "share"],
  ["-a host", "share"],
  ["-v host", "share"],
  ["-vvv host", "share"],
  ["-q host", "share"],
  ["-C host", "share"],
  ["-4 host", "share"],
  ["-J jump host", "share"],
  ["-i key host", "share"],
  ["-l user -p 22 host", "share"],
  ["-E log host", "share"],
  ["-e none host", "share"],
  ["-g host", "share"],
  ["-x -oPermitLocalCommand=no -oClearAllForwardings=yes -s -- host sftp", "share"],
  ["-o BatchMode=yes host", "share"],
  ["-o ControlMaster=no host", "share"],
  ["-oControlMaster=no host", "share"],
  ["-o", 'Cannot parse option "-o" without a value'],
  ["-o ControlPersist=60 host", "share"],
  ["-M host", /^-M /],
  ["-S none host", /^-S /],
  ["-S /path host", /^-S /],
  ["-O check host", /^-O /],
  ["-G host", /^-G /],
  ["-N host", /^-N /],
  ["-fN host", /^-f /],
  ["-vN host", /^-N /],
  ["host -N", /^-N /],
  ["-w 0:0 host", /^-w /],
  ["-Q cipher", /^-Q /],
  ["-V", /^-V /],
  ["-N", "there is no destination"],
  ["", "there is no destination"],
  ["-o ControlPersist", "there is no destination"],
  ["-z host", 'Cannot parse option "-z"'],
  ["-p", 'Cannot parse option "-p" without a value'],
  ["--bogus host", 'Cannot parse option "--"'],
];

Deno.test("directByWords shares what a master can serve and sends the rest direct", () => {
  for (const [text, expected] of ARGS) {
    const found = outcome(directByWords(argsOf(text)));
    if (typeof expected === "string") assert.equal(found, expected, text);
    else assert.match(found, expected, text);
  }
});

const CONFIG: readonly (readonly [lines: string, outcome: string | RegExp])[] = [
  ["", "share"],
  ["tunnel false", "share"],
  ["tunnel no", "share"],
  ["tunnel point-to-point", /tunnel/],
  ["localforward 8080 [localhost]:80", /the configuration forwards/],
  ["remoteforward 8080 [localhost]:80", /the configuration forwards/],
  ["dynamicforward 1080", /the configuration forwards/],
  ["localforward 8080 [localhost]:80\nclearallforwardings yes", "share"],
  ["sessiontype none", /SessionType none/],
  ["sessiontype subsystem", "share"],
  ["sessiontype default", "share"],
  ["permitlocalcommand yes", "share"],
  ["permitlocalcommand yes\nlocalcommand none", "share"],
  ["permitlocalcommand no\nlocalcommand date", "share"],
  ["permitlocalcommand yes\nlocalcommand date", /LocalCommand/],
  ["controlmaster ask", /ControlMaster ask/],
  ["controlmaster autoask", /ControlMaster autoask/],
  ["controlmaster auto\ncontrolpath /tmp/x\ncontrolpersist 60", "share"],
  ["controlmaster yes", "share"],
  ["controlmaster false", "share"],
  ["forkafterauthentication yes", /background/],
  ["forwardx11 yes\nforwardx11trusted no\nforwardx11timeout 1200", /untrusted X11/],
  ["forwardx11 yes\nforwardx11trusted no\nforwardx11timeout 0", "share"],
  ["forwardx11 yes\nforwardx11trusted yes\nforwardx11timeout 1200", "share"],
  ["forwardx11 no\nforwardx11trusted no\nforwardx11timeout 1200", "share"],
  ["forkafterauthentication no", "share"],
  ["proxyjump jump", "share"],
  ["forwardagent yes\nforwardx11 yes", "share"],
  ["unheardof yes", "share"],
];

const NO_SETTINGS = settingsFor("host", undefined, { env: () => undefined });

Deno.test("directByConfig sends a call direct if its work ends with its own process", () => {
  for (const [lines, expected] of CONFIG) {
    const config = parseConfigDump(lines, "");
    const found = outcome(directByConfig(callOf("host"), config, NO_SETTINGS, 0));
    if (typeof expected === "string") assert.equal(found, expected, lines);
    else assert.match(found, expected, lines);
  }
});

Deno.test("directByConfig lets a channel do without a session, and a slow Match exec run once", () => {
  const channel = callOf("-W target:22 host");
  const config = parseConfigDump("sessiontype none", "");
  assert.equal(directByConfig(channel, config, NO_SETTINGS, 0), undefined);
  const exec = parseConfigDump("", "debug1: Executing command: 'true'\n");
  for (const [dump, took, expected] of [[exec, 100, "share"], [config, 5000, /none/]] as const) {
    assert.match(
      outcome(directByConfig(callOf("host"), dump, NO_SETTINGS, took)),
      RegExp(expected),
    );
  }
  assert.match(
    outcome(directByConfig(callOf("host"), exec, NO_SETTINGS, 500)),
    /^Match exec takes/,
  );
});

Deno.test("directByConfig obeys the switch in our own settings", () => {
  const settings = { ...NO_SETTINGS, share: false };
  const direct = directByConfig(callOf("host"), parseConfigDump("", ""), settings, 0);
  assert.match(outcome(direct), /switched off/);
});

/** Words that name a connection master, and the outcome without and with the setting. */
const MASTERS: readonly (readonly [words: string[], without: RegExp, always: string | RegExp])[] = [
  [["-o", "ControlPath=none"], /^ControlPath /, /^ControlPath /],
  [["-oControlPath=/path"], /^ControlPath /, "share"],
  [["-o", "controlpath=/path"], /^ControlPath /, "share"],
  [["-o", " ControlPath = x"], /^ControlPath /, "share"],
  [["-o", "ControlPath none"], /^ControlPath /, /^ControlPath /],
  [["-o", "ControlMaster=auto"], /^ControlMaster /, "share"],
  [["-o", "controlmaster auto"], /^ControlMaster /, "share"],
  [["-oControlMaster=yes", "-oControlPath=x"], /^ControlMaster /, "share"],
];

Deno.test('a call that names a master goes direct, unless "share" is "always"', () => {
  for (const [words, without, always] of MASTERS) {
    const call = parseSshArgs([...words, "host"]);
    assert.ok(call.kind === "call");
    for (const [share, expected] of [[true, without], ["always", always]] as const) {
      const settings = { ...NO_SETTINGS, share };
      const config = parseConfigDump("", "");
      const found = outcome(directByConfig(putMasterAside(call, settings), config, settings, 0));
      if (typeof expected === "string") assert.equal(found, expected, words.join(" "));
      else assert.match(found, expected, words.join(" "));
    }
  }
});

Deno.test("putMasterAside leaves the other options in place", () => {
  const call = callOf("-oControlPath=x -p 22 host -oControlMaster=auto -l me ls");
  const { argv } = putMasterAside(call, { ...NO_SETTINGS, share: "always" });
  assert.deepEqual(argv, ["-p", "22", "host", "-l", "me", "ls"]);
});

/** Lines of `ssh -G`, and the outcome of a call with them if "forwards" is true. */
const FORWARDS: readonly (readonly [lines: string, outcome: string | RegExp])[] = [
  ["localforward 8080 [localhost]:80", "share"],
  ["remoteforward 8080 [localhost]:80", "share"],
  ["dynamicforward 1080", "share"],
  ["localforward /tmp/a b [localhost]:80", /blank/],
  ["localforward a.sock [localhost]:80", /relative/],
  ["remoteforward 0 [localhost]:80", /only plain ssh tells/],
];

Deno.test('directByConfig shares most calls that forward if "forwards" is true', () => {
  for (const [lines, expected] of FORWARDS) {
    const config = parseConfigDump(lines, "");
    const settings = { ...NO_SETTINGS, forwards: true };
    const found = outcome(directByConfig(callOf("host"), config, settings, 0));
    if (typeof expected === "string") assert.equal(found, expected, lines);
    else assert.match(found, expected, lines);
  }
});

Deno.test("directByConfig names the option that forwards, and the setting that would help", () => {
  const config = parseConfigDump("localforward 8080 [localhost]:80", "");
  const found = directByConfig(callOf("-L 8080:localhost:80 host"), config, NO_SETTINGS, 0);
  assert.match(found!.reason, /^-L forwards ports/);
  assert.match(found!.remedy!, /^set "forwards" to true/);
});

Deno.test("versionOf reads major and minor", () => {
  assert.deepEqual(versionOf("OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.14"), [9, 2]);
  assert.deepEqual(versionOf("OpenSSH_10.5p1"), [10, 5]);
  assert.deepEqual(versionOf("OpenSSH_for_Windows_8.1p1"), [0, 0]);
  assert.deepEqual(versionOf("dropbear"), [0, 0]);
});

/** The linger by settings (JSON), SSHS_LINGER and the ControlPersist of `ssh -G`. */
const LINGER: readonly (readonly [
  settings: string,
  environment: string | undefined,
  persist: string | undefined,
  forwards: boolean,
  seconds: number,
])[] = [
  ["{}", undefined, undefined, false, 600],
  ["{}", undefined, "no", false, 600],
  ["{}", undefined, "yes", false, Infinity],
  ["{}", undefined, "90", false, 90],
  ["{}", "5", undefined, false, 5],
  ["{}", "5", "no", false, 5],
  ["{}", "5", "90", false, 90],
  ["{}", "1h", undefined, false, 3600],
  ['{ "linger": "2m" }', undefined, undefined, false, 120],
  ['{ "linger": "2m" }', "5", undefined, false, 5],
  ['{ "linger": "2m" }', undefined, "90", false, 90],
  ['{ "hosts": [{ "host": "host", "linger": 7 }] }', "5", "90", false, 7],
  ['{ "hosts": [{ "host": "other", "linger": 7 }] }', "5", undefined, false, 5],
  ['{ "hosts": [{ "host": "host", "linger": "forever" }] }', undefined, "90", false, Infinity],
  // A master that could open the agent to the server lingers only if the user says so.
  ["{}", undefined, undefined, true, 0],
  ["{}", undefined, "no", true, 0],
  ["{}", undefined, "90", true, 90],
  ["{}", undefined, "yes", true, Infinity],
  ["{}", "5", undefined, true, 5],
  ['{ "linger": "2m" }', undefined, undefined, true, 120],
  ['{ "hosts": [{ "host": "host", "linger": 7 }] }', undefined, undefined, true, 7],
];

Deno.test("lingerOf asks the host's own settings, then ssh_config, then the rest", () => {
  for (const [text, environment, persist, forwards, seconds] of LINGER) {
    const file = { path: "config.json", rules: parseSettings(text) };
    const settings = settingsFor("host", file, {
      env: (name) => name === "SSHS_LINGER" ? environment : undefined,
    });
    const config = parseConfigDump(persist === undefined ? "" : `controlpersist ${persist}`, "");
    const row = JSON.stringify([text, environment, persist, forwards]);
    assert.equal(lingerOf(config, settings, forwards), seconds, row);
  }
});

Deno.test("directByWords has a remedy only where the call would be the same without the option", () => {
  for (const text of ["-M host", "-N host", "-S none host"]) {
    assert.equal(directByWords(argsOf(text))?.remedy, `leave out ${text.slice(0, 2)}`);
  }
  for (const text of ["-V", "-V host", "-Q cipher", "-G host", "-O check host", "-z host", ""]) {
    assert.equal(directByWords(argsOf(text))?.remedy, undefined, text);
  }
});
