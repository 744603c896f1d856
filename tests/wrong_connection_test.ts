/**
 * Never the wrong connection: what ssh's answer to the same words can depend on makes another identity, makes
 * the plan void, or keeps the call from being shared. Each row was shared wrongly by 0.2.0.
 */
import assert from "node:assert/strict";
import { isAsDecided } from "../lib/call/answer.ts";
import { answerText } from "../lib/call/answer_text.ts";
import { parseSshArgs } from "../lib/ssh/arguments.ts";
import { readConfig } from "../lib/ssh/configuration.ts";
import { Decider } from "./support/decider.ts";
import { needProgram } from "./support/programs.ts";
import { type CachedTicket, cacheOf } from "./support/tickets.ts";

const HOUR = 3600;
const now = Math.floor(Date.now() / 1000);

const CONFIG = (dir: string) => `
Include ${dir}/conf.d/*
Host h
  HostName 127.0.0.1
  IdentityFile ${dir}/key
Host k
  HostName 127.0.0.1
  GSSAPIAuthentication yes
  IdentityFile none
Host p
  HostName 127.0.0.1
  ProxyCommand ${dir}/connect %h %p
  IdentityFile none
`;

interface Row {
  host?: string;
  /** What is there before. */
  before?: (decider: Decider) => void;
  change: (decider: Decider) => void;
  /** What the plan says then; "none": there was no plan to keep. */
  plan: string | RegExp;
  /** Whether the identity is the same then. */
  same?: true;
}

const tgt = (user: string, end = now + HOUR, service = "krbtgt/R"): CachedTicket => ({
  user,
  service,
  times: [now, now, end, end + HOUR],
});

function kinit(decider: Decider, ...tickets: CachedTicket[]): void {
  decider.write("cache", cacheOf(tickets));
  decider.env.KRB5CCNAME = `FILE:${decider.dir}/cache`;
}

const CACHE = /^void: \S+\/cache$/;

const ROWS: Readonly<Record<string, Row>> = {
  "1: another principal": {
    host: "k",
    before: (d) => kinit(d, tgt("alice")),
    change: (d) => kinit(d, tgt("bob")),
    plan: CACHE,
  },
  "1: a renewed ticket": {
    host: "k",
    before: (d) => kinit(d, tgt("alice")),
    change: (d) => kinit(d, tgt("alice", now + 2 * HOUR)),
    plan: CACHE,
  },
  "1: no ticket any more": {
    host: "k",
    before: (d) => kinit(d, tgt("alice")),
    change: (d) => Deno.removeSync(`${d.dir}/cache`),
    plan: CACHE,
  },
  "1: the host's own ticket, which the login has got": {
    host: "k",
    before: (d) => kinit(d, tgt("alice")),
    change: (d) => kinit(d, tgt("alice"), tgt("alice", now + HOUR, "host/h")),
    plan: CACHE,
    same: true,
  },
  "2: root of a user namespace": {
    change: (d) => {
      d.given = { ...d.given, spaces: d.given.spaces.replace("user:[4]", "user:[5]") };
    },
    plan: "share", // which the launcher compares with sshs_spaces
  },
  "3: another mount namespace": {
    change: (d) => {
      d.given = { ...d.given, spaces: d.given.spaces.replace("mnt:[3]", "mnt:[6]") };
    },
    plan: "share",
  },
  "16: another job": {
    change: (d) => void (d.given = { ...d.given, job: "/system.slice/batch" }),
    plan: "void: sshs",
  },
  "6: another ssh earlier in PATH": {
    change: (d) => d.write("bin/ssh", "#!/bin/sh\n", 0o755),
    plan: /^void: \S+\/bin\/ssh$/,
    same: true, // the launcher finds the real ssh
  },
  "6: another ssh before one in a directory with a slash at its end": {
    before: (d) => {
      const [, dir] = /^(.*\/)ssh$/.exec(d.given.ssh)!;
      d.env.PATH = `${d.dir}/bin:${dir}:/usr/bin`;
      d.given = { ...d.given, ssh: `${dir}/ssh` };
    },
    change: (d) => d.write("bin/ssh", "#!/bin/sh\n", 0o755),
    plan: /^void: \S+\/bin\/ssh$/,
    same: true,
  },
  "9: a key that ssh ignores for its mode": {
    before: (d) => Deno.chmodSync(`${d.dir}/key`, 0o644),
    change: (d) => Deno.chmodSync(`${d.dir}/key`, 0o600),
    plan: "none",
  },
  "9: a key that becomes readable for others": {
    change: (d) => Deno.chmodSync(`${d.dir}/key`, 0o644),
    plan: "share", // no shell can tell: identity.ts
  },
  "10: a link in an Include's directory comes alive": {
    before: (d) => Deno.symlinkSync(`${d.dir}/later`, `${d.dir}/conf.d/link`),
    change: (d) => d.write("later", "Host *\n  User somebody\n"),
    plan: /^void: \S+\/conf.d\/link$/,
  },
  "11: a library path": {
    change: (d) => void (d.env.LD_LIBRARY_PATH = "/nowhere"),
    plan: "void: LD_LIBRARY_PATH", // and the launcher goes direct, without a plan
  },
  "11: RES_OPTIONS": { change: (d) => void (d.env.RES_OPTIONS = "x"), plan: "void: RES_OPTIONS" },
  "11: KRB5_CONFIG": {
    host: "k",
    change: (d) => void (d.env.KRB5_CONFIG = "/nowhere"),
    plan: "void: KRB5_CONFIG",
  },
  "11: a proxy's own variable": {
    host: "p",
    before: (d) => void (d.env.WHERE = "here"),
    change: (d) => void (d.env.WHERE = "there"),
    plan: "void: WHERE",
  },
  "11: a variable that a proxy did not have before": {
    host: "p",
    change: (d) => void (d.env.CODER_URL = "https://there"),
    plan: "void: CODER_URL",
  },
  "11: a proxy's secret": {
    host: "p",
    before: (d) => void (d.env.CLOUD_TOKEN = "one's\nsecond line"),
    change: (d) => void (d.env.CLOUD_TOKEN = "two's"),
    plan: "void: CLOUD_TOKEN",
  },
  "11: the session's own variables": {
    host: "p",
    before: (d) => void (d.env.TEXT = "a\n'b=c"),
    change: (d) => Object.assign(d.env, { TERM: "x", GIT_DIR: "/x", TMUX_PANE: "1", LC_ALL: "C" }),
    plan: "share",
    same: true,
  },
  "18.8: a variable that the configuration names": {
    before: (d) => {
      d.env.NAME = "one";
      d.write("conf.d/more", "Host *\n  CertificateFile /nowhere/${NAME}\n");
    },
    change: (d) => void (d.env.NAME = "two"),
    plan: "void: NAME",
  },
  "18.32: revoked host keys": {
    before: (d) => {
      d.write("revoked", "");
      d.write("conf.d/more", `Host *\n  RevokedHostKeys ${d.dir}/revoked\n`);
    },
    change: (d) => d.write("revoked", "ssh-ed25519 AAAA\n"),
    plan: /^void: \S+\/revoked$/,
  },
};

function stage(): Decider {
  const decider = new Decider();
  decider.write("config", CONFIG(decider.dir));
  decider.write("key", "-----BEGIN PRIVATE KEY-----\n");
  decider.write("connect", "#!/bin/sh\n", 0o755);
  Deno.mkdirSync(`${decider.dir}/conf.d`);
  Deno.utimeSync(`${decider.dir}/conf.d`, 1e9, 1e9);
  decider.env.KRB5CCNAME = `FILE:${decider.dir}/cache`;
  return decider;
}

for (const [name, { host = "h", before, change, plan, same = false }] of Object.entries(ROWS)) {
  Deno.test(`wrong connection ${name}`, async () => {
    using decider = stage();
    before?.(decider);
    const first = await decider.share(host);
    const isKept = await decider.keep(first);
    if (isKept) assert.equal(await decider.held(), "share", "as long as nothing changes");
    change(decider);
    const outcome = isKept ? await decider.held() : "none";
    if (typeof plan === "string") assert.equal(outcome, plan);
    else assert.match(outcome, plan);
    const second = await decider.share(host);
    assert.equal(second.identity === first.identity, same, "the identity");
  });
}

Deno.test("wrong connection 8: what a Match exec answers is asked again after the login", async () => {
  using decider = new Decider();
  const flag = `${decider.dir}/flag`;
  decider.write(
    "config",
    `
Match exec "test -e ${flag}"
  User two
Host *
  User one
Host behind
  ProxyJump gate
Host proxied
  ProxyCommand ssh -F ${decider.dir}/config -W %h:%p gate
`,
  );
  for (const host of ["h", "behind", "proxied"]) {
    const shared = await decider.share(host);
    assert.equal(await decider.keep(shared), false, "nothing is kept");
    const text = answerText(shared, decider.given, decider.system)!;
    const expects = /^sshs_expects='(\w+)'$/m.exec(text)![1];
    const argv = ["-F", `${decider.dir}/config`, host];
    const ask = () => isAsDecided([expects, "--", ...argv], decider.given, decider.system);
    assert.equal(await ask(), 0, host);
    decider.write("flag", "");
    assert.equal(await ask(), 1, `${host}, for whom the Match exec now answers otherwise`);
    Deno.removeSync(flag);
  }
});

Deno.test("wrong connection 12: a lane lives no longer than its certificate or its ticket", async () => {
  using decider = stage();
  const keygen = needProgram("ssh-keygen");
  const run = async (...args: string[]) => {
    const { success, stderr } = await new Deno.Command(keygen, { args }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
  };
  for (const type of ["ed25519", "rsa", "ecdsa"]) {
    const [ca, key] = [`${decider.dir}/ca-${type}`, `${decider.dir}/${type}`];
    for (const path of [ca, key]) await run("-q", "-t", type, "-N", "", "-f", path);
    await run(
      "-q",
      "-s",
      ca,
      "-I",
      "id",
      "-n",
      "ann",
      "-V",
      "19700101:20330405060708Z",
      `${key}.pub`,
    );
    const { until } = (await decider.share("-i", key, "h")).record;
    assert.equal(until, Date.UTC(2033, 3, 5, 6, 7, 8) / 1000, type);
    await run("-q", "-s", ca, "-I", "id", "-n", "ann", "-V", "19700101:20010101", `${key}.pub`);
    assert.equal(
      (await decider.share("-i", key, "h")).record.until,
      undefined,
      "no server takes it",
    );
  }
  kinit(decider, tgt("alice"), tgt("alice", now + 10, "host/h"));
  assert.equal((await decider.share("k")).record.until, now + HOUR);
});

Deno.test("wrong connection 1: a ticket that no shell can watch is never handed on unseen", async () => {
  using decider = stage();
  decider.env.KRB5CCNAME = "KCM:";
  decider.write(
    "bin/klist",
    "#!/bin/sh\n[ -e ~/nobody ] && exit 1\necho 'Default principal: alice@R'\n",
    0o755,
  );
  const shared = await decider.share("k");
  assert.equal(await decider.keep(shared), false, "nothing is kept");
  const delegating = await decider.decide("-oGSSAPIDelegateCredentials=yes", "k");
  assert.equal(delegating.kind, "direct");
  decider.write("nobody", "");
  const without = await decider.share("k");
  assert.notEqual(without.identity, shared.identity);
  // A first one may come unseen, so that no plan holds for long.
  assert.equal(await decider.keep(without), true);
  assert.equal(await decider.held(), "share");
  const stamps = `${decider.given.stateDir}/stamps`;
  const [until] = [...Deno.readDirSync(stamps)].filter(({ name }) => name.startsWith("until."));
  Deno.utimeSync(`${stamps}/${until.name}`, 1, 1);
  assert.equal(await decider.held(), "void: time");
  const unseen = await decider.decide("-oGSSAPIDelegateCredentials=yes", "k");
  assert.equal(unseen.kind, "direct");
});

Deno.test("a configuration that takes too long is direct, and for an hour or two at once", async () => {
  using decider = new Decider();
  const config = decider.write("config", `Match exec "sleep 4; exit 1"\nHost *\n  Port 1\n`);
  const call = parseSshArgs(["-F", config, "h"]);
  assert.ok(call.kind === "call");
  const answer = await readConfig(decider.given.ssh, call, decider.system, 200);
  assert.ok(answer.kind === "failed");
  assert.match(answer.reason, /takes longer than 0\.2 s/);
  assert.deepEqual(answer.begun?.files, [config]);
  assert.deepEqual(answer.begun.execs, ["sleep 4; exit 1"]);
  // One that takes a second, which is longer than asking is worth.
  decider.write("config", `Match exec "sleep 0.5"\n  Port 1\n`);
  const slow = await decider.decide("h");
  assert.ok(slow.kind === "direct");
  assert.match(slow.reason, /^Match exec takes/);
  assert.equal(await decider.keep(slow), true);
  assert.equal(await decider.held(), "direct");
  decider.write("config", "Host *\n");
  assert.match(await decider.held(), /^void: \S+\/config$/);
});

Deno.test("what ssh refuses at once goes direct before anything connects", async () => {
  using decider = new Decider();
  for (const argv of [["-W", "nope", "h"], ["-s", "h"], ["-W", "a:1", "-W", "b:2", "h"]]) {
    assert.equal((await decider.decide(...argv)).kind, "direct", argv.join(" "));
  }
  assert.equal((await decider.decide("-W", "a:1", "h")).kind, "share");
});

Deno.test("settings that are not understood are said, but never under -q or BatchMode", async () => {
  using decider = new Decider();
  decider.write(
    ".config/sshs/config.json",
    '{ "hosts": [{ "host": "h", "share": false }], "x": 1 }',
  );
  const said = await decider.decide("h");
  assert.equal(said.kind, "direct");
  assert.match(said.notice!.fault, /x is unknown/);
  const quiet = ["-q", "-tq", "-oBatchMode=YES", "-oLogLevel=QUIET", "-ologlevel fatal"];
  for (const [options, isSaid] of [[quiet, false], [["-oBatchMode=no", "-v"], true]] as const) {
    for (const option of options) {
      const { kind, notice } = await decider.decide(option, "other", "echo", "-q");
      assert.deepEqual([kind, notice !== undefined], ["direct", isSaid], option);
    }
  }
});

Deno.test("a plan sets what the launcher uses, and copies have an identity of their own", async () => {
  using decider = new Decider("Host p\n  ProxyCommand nc %h %p\n");
  decider.write(".config/sshs/config.json", '{ "copies": "apart", "maxAge": "8h" }');
  const shared = await decider.share("p");
  const { given, system } = decider;
  const text = answerText(shared, given, system)!;
  const script = `${text}\nfor v in home copies marks expects logged record; do
    eval "printf '%s\\n' \"\\$sshs_$v\""; done; sshs_master printf '<%s>' -S x`;
  const { stdout } = await new Deno.Command("/bin/sh", { args: ["-c", script] }).output();
  const [home, copies, marks, expects, logged, record, master] = new TextDecoder().decode(stdout)
    .split("\n");
  assert.notEqual(home, copies);
  assert.match(copies, /\/state\/[0-9a-f]{16}$/);
  assert.deepEqual([marks, expects, logged], ["yes", "", ""]);
  assert.deepEqual([JSON.parse(record).maxAge, JSON.parse(record).until], [8 * 3600, undefined]);
  assert.match(master, /^<-S><x><-M><-N><-f>.*<-F><[^>]*\/config><p>$/);
});
