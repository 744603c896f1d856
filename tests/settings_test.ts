import assert from "node:assert/strict";
import {
  DEFAULT_LINGER,
  DEFAULT_MAX_SESSIONS,
  matchesPatterns,
  parseDuration,
  parseSettings,
  readSettingsFile,
  settingsFor,
} from "../lib/call/settings.ts";

const NO_ENVIRONMENT = { env: () => undefined };

function fileOf(text: string) {
  return { path: "config.json", rules: parseSettings(text) };
}

Deno.test("parseDuration reads sshd_config's time formats in seconds", () => {
  for (
    const [text, seconds] of [
      ["0", 0],
      ["90", 90],
      ["90s", 90],
      ["10m", 600],
      ["1h30m", 5400],
      ["1H30M", 5400],
      ["1h30", 3630],
      ["1d", 86400],
      ["2w", 1209600],
      ["yes", Infinity],
      ["forever", Infinity],
      ["Forever", Infinity],
      ["", undefined],
      ["no", undefined],
      ["-5", undefined],
      ["1.5m", undefined],
      ["10 m", undefined],
      ["m", undefined],
      ["10x", undefined],
      ["10m ", undefined],
    ] as const
  ) {
    assert.equal(parseDuration(text), seconds, text);
  }
});

Deno.test("matchesPatterns reads ssh_config's patterns", () => {
  for (
    const [host, patterns, matches] of [
      ["host", "host", true],
      ["HOST", "host", true],
      ["host", "*", true],
      ["host", "h?st", true],
      ["host", "h?", false],
      ["a.example.com", "*.example.com", true],
      ["aXexample.com", "a.example.com", false],
      ["example.com", "*.example.com", false],
      ["b", "a b c", true],
      ["b", "a,b,c", true],
      ["bastion.example.com", "*.example.com !bastion.example.com", false],
      ["bastion.example.com", "!bastion.example.com *.example.com", false],
      ["a.example.com", "*.example.com !bastion.example.com", true],
      ["host", "!other", false],
      ["host", "", false],
      ["a(b", "a(b", true],
      ["a\nb", "a*b", true],
    ] as const
  ) {
    assert.equal(matchesPatterns(host, patterns), matches, `${host} by ${patterns}`);
  }
});

Deno.test("settingsFor takes the first value of each setting: hosts in order, then the rest", () => {
  const file = fileOf(`{
    "linger": "5m", "maxSessions": 3,
    "hosts": [
      { "host": "a.*", "share": false },
      { "host": "*.example.com !b.*", "linger": 0, "share": true, "maxSessions": 20 }
    ]
  }`);
  const of = (host: string) => settingsFor(host, file, NO_ENVIRONMENT);
  assert.deepEqual(of("a.example.com"), {
    share: false,
    forwards: false,
    copies: "together",
    maxAge: Infinity,
    problem: undefined,
    maxSessions: 20,
    linger: 0,
    lingerFrom: "host",
  });
  assert.deepEqual(of("b.example.com"), {
    share: true,
    forwards: false,
    copies: "together",
    maxAge: Infinity,
    problem: undefined,
    maxSessions: 3,
    linger: 300,
    lingerFrom: "user",
  });
});

Deno.test("settingsFor has defaults", () => {
  assert.deepEqual(settingsFor("host", undefined, NO_ENVIRONMENT), {
    share: true,
    forwards: false,
    copies: "together",
    maxAge: Infinity,
    problem: undefined,
    maxSessions: DEFAULT_MAX_SESSIONS,
    linger: DEFAULT_LINGER,
    lingerFrom: "default",
  });
});

Deno.test("settingsFor prefers the environment to the settings for all hosts", () => {
  const environment: Record<string, string> = { SSHS_LINGER: "1m", SSHS_MAX_SESSIONS: "4" };
  const file = fileOf('{ "linger": "5m", "maxSessions": 3 }');
  const settings = settingsFor("host", file, { env: (name) => environment[name] });
  assert.deepEqual([settings.linger, settings.maxSessions], [60, 4]);
});

Deno.test("settingsFor says what it cannot read in the environment, and shares nothing then", () => {
  const rows: [name: string, word: string, problem: RegExp][] = [
    ...["0", "-1", "many", "1.5", "10000000"]
      .map((word): [string, string, RegExp] => ["SSHS_MAX_SESSIONS", word, / a number from 1$/]),
    ["SSHS_LINGER", "soon", /^SSHS_LINGER takes seconds/],
  ];
  for (const [name, word, problem] of rows) {
    const settings = settingsFor("host", undefined, {
      env: (it) => it === name ? word : undefined,
    });
    assert.equal(settings.share, false, word);
    assert.match(settings.problem!, problem);
  }
});

/** A mistake in a settings file, and what is said. */
const FAULTS: readonly [text: string, problem: RegExp][] = [
  ["", /JSON/],
  ['{ "share": true, }', /JSON/],
  ["[]", /: the file takes an object/],
  ["null", /: the file takes an object/],
  ['{ "hosts": {} }', /: "hosts" takes a list/],
  ['{ "hosts": [{ "host": "host", "share": true }], "lnger": "5m" }', /: lnger is unknown; there/],
  ['{ "hosts": [{ "host": "host", "linger": 0, "shar": 1 }] }', /hosts\[0\]\.shar is unknown/],
  ['{ "hosts": [{ "host": "other", "share": 1 }] }', /hosts\[0\]\.share takes/],
  ['{ "share": "false" }', /share takes true, false or "always"/],
  ['{ "linger": "soon" }', /linger takes seconds, "10m"/],
  ['{ "linger": -1 }', /linger takes/],
  ['{ "maxAge": true }', /maxAge takes seconds/],
  ['{ "maxSessions": "5" }', /maxSessions takes a number from 1/],
  ['{ "maxSessions": 0 }', /maxSessions takes a number from 1/],
  ['{ "forwards": "yes" }', /forwards takes true or false/],
  ['{ "copies": true }', /copies takes "apart" or "together"/],
  ['{ "host": "a" }', /"host" belongs into "hosts"/],
  ['{ "__proto__": 1, "a": 2 }', /__proto__ is unknown/],
  ['{ "hosts": ["a"] }', /hosts\[0\] takes an object/],
  ['{ "hosts": [{ "share": true }] }', /hosts\[0\]\.host takes a pattern/],
  ['{ "hosts": [{ "host": 5, "linger": 0, "share": true }] }', /host takes a pattern/],
];

Deno.test("the settings fail closed, and say what is wrong", async () => {
  const dir = await Deno.makeTempDir();
  const path = `${dir}/sshs/config.json`;
  const system = { env: (name: string) => name === "XDG_CONFIG_HOME" ? dir : undefined };
  try {
    assert.deepEqual(readSettingsFile(system), { path, rules: [{ host: "*" }] });
    await Deno.mkdir(`${dir}/sshs`);
    await Deno.writeTextFile(path, '{ "linger": 5, "maxAge": "8h", "copies": "apart" }');
    const { linger, maxAge, copies } = settingsFor("host", readSettingsFile(system), system);
    assert.deepEqual([linger, maxAge, copies], [5, 8 * 3600, "apart"]);
    for (const [text, problem] of FAULTS) {
      await Deno.writeTextFile(path, text);
      const settings = settingsFor("host", readSettingsFile(system), system);
      assert.ok(settings.problem?.startsWith(`${path}: `), text);
      assert.match(settings.problem!, problem, text);
      assert.equal(settings.share, false, text);
    }
    await Deno.remove(path);
    await Deno.mkdir(path);
    assert.match(readSettingsFile(system)!.problem!, /directory$/);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("readSettingsFile looks below HOME, and nowhere without it", () => {
  const home = { env: (name: string) => name === "HOME" ? "/no/such/home" : undefined };
  assert.equal(readSettingsFile(home)!.path, "/no/such/home/.config/sshs/config.json");
  assert.equal(readSettingsFile(NO_ENVIRONMENT), undefined);
});
