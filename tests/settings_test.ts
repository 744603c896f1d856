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
    maxSessions: 20,
    linger: 0,
    lingerForHost: true,
    lingerSet: true,
  });
  assert.deepEqual(of("b.example.com"), {
    share: true,
    forwards: false,
    maxSessions: 3,
    linger: 300,
    lingerForHost: false,
    lingerSet: true,
  });
});

Deno.test("settingsFor has defaults", () => {
  assert.deepEqual(settingsFor("host", undefined, NO_ENVIRONMENT), {
    share: true,
    forwards: false,
    maxSessions: DEFAULT_MAX_SESSIONS,
    linger: DEFAULT_LINGER,
    lingerForHost: false,
    lingerSet: false,
  });
});

Deno.test("settingsFor prefers the environment to the settings for all hosts", () => {
  const environment: Record<string, string> = { SSHS_LINGER: "1m", SSHS_MAX_SESSIONS: "4" };
  const file = fileOf('{ "linger": "5m", "maxSessions": 3 }');
  const settings = settingsFor("host", file, { env: (name) => environment[name] });
  assert.deepEqual([settings.linger, settings.maxSessions], [60, 4]);
});

Deno.test("settingsFor ignores values in the environment that it cannot read", () => {
  for (const word of ["0", "-1", "many", "1.5", "10000000"]) {
    const { maxSessions, linger } = settingsFor("host", undefined, {
      env: (name) => name === "SSHS_MAX_SESSIONS" ? word : "soon",
    });
    assert.deepEqual([maxSessions, linger], [DEFAULT_MAX_SESSIONS, DEFAULT_LINGER], word);
  }
});

Deno.test("parseSettings names what is wrong, and what is accepted", () => {
  for (
    const [text, message] of [
      ["", /JSON/],
      ["[]", /^the file takes an object/],
      ["null", /^the file takes an object/],
      ['{ "linger": "soon" }', /^linger takes seconds, "10m"/],
      ['{ "linger": -1 }', /^linger takes/],
      ['{ "maxSessions": 0 }', /^maxSessions takes a number from 1/],
      ['{ "share": "no" }', /^share takes true, false or "always"/],
      ['{ "forwards": "yes" }', /^forwards takes true or false/],
      ['{ "lingr": 1 }', /^lingr is unknown; there are linger/],
      ['{ "host": "a" }', /^host is unknown/],
      ['{ "hosts": {} }', /^"hosts" takes a list/],
      ['{ "hosts": ["a"] }', /^hosts\[0\] takes an object/],
      ['{ "hosts": [{ "linger": 1 }] }', /^hosts\[0\]\.host takes a pattern/],
      [
        '{ "hosts": [{ "host": "a" }, { "host": "b", "share": 1 }] }',
        /^hosts\[1\]\.share takes true, false or/,
      ],
    ] as const
  ) {
    assert.throws(() => parseSettings(text), { message }, text);
  }
});

Deno.test("readSettingsFile returns no rules without a file, and a problem for an invalid one", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const system = { env: (name: string) => name === "XDG_CONFIG_HOME" ? dir : undefined };
    const path = `${dir}/sshs/config.json`;
    assert.deepEqual(readSettingsFile(system), { path, rules: [] });
    await Deno.mkdir(`${dir}/sshs`);
    await Deno.writeTextFile(path, '{ "linger": 5 }');
    assert.equal(settingsFor("host", readSettingsFile(system), system).linger, 5);
    await Deno.writeTextFile(path, '{ "linger": }');
    const wrong = readSettingsFile(system)!;
    assert.deepEqual(wrong.rules, []);
    assert.equal(wrong.problem!.startsWith(`${path}: `), true);
    await Deno.remove(path);
    await Deno.mkdir(path);
    assert.match(readSettingsFile(system)!.problem!, /directory/);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("readSettingsFile looks below HOME, and nowhere without it", () => {
  const home = { env: (name: string) => name === "HOME" ? "/no/such/home" : undefined };
  assert.equal(readSettingsFile(home)!.path, "/no/such/home/.config/sshs/config.json");
  assert.equal(readSettingsFile(NO_ENVIRONMENT), undefined);
});
