import assert from "node:assert/strict";
import { planText, watchTests } from "../lib/call/plan.ts";
import { dependsOnMore, dependsOnSession, includedPaths } from "../lib/ssh/config_text.ts";
import { type Watch, watchesOf } from "../lib/ssh/watches.ts";
import { realSystem } from "../lib/os/system.ts";
import { pause } from "./support/eventually.ts";
import { run } from "./support/programs.ts";
import { SHELLS } from "./support/shells.ts";

/** A home with old keys in it, and a plan that watches them. */
class Home implements AsyncDisposable {
  private constructor(readonly dir: string) {}

  static async create(): Promise<Home> {
    const home = new Home(await Deno.realPath(await Deno.makeTempDir()));
    await home.sh(`
      mkdir ssh ssh/config.d elsewhere older
      for name in ka kb k config elsewhere/k2; do echo $name >ssh/../\${name#ssh/}; done
      mv k config ssh/
      ln -s ../elsewhere/k2 ssh/link
      touch -t 202401010000.01 kb; touch -t 202401010000.05 ssh/k
      touch -t 202401010000.09 ka ssh/config elsewhere/k2
      touch -t 202401010000 ssh/config.d; touch -t 202301010000 older
    `);
    // Shells and file systems may count in seconds, so the dates differ by seconds. What has just
    // moved is void, so wait.
    await pause(20);
    return home;
  }

  async sh(script: string): Promise<void> {
    await run("sh", ["-ec", `cd "$1"\n${script}`, "sh", this.dir]);
  }

  watches(since = Date.now()) {
    const files = ["k", "k-cert.pub", "link", "config", "id_rsa"].map((n) =>
      `${this.dir}/ssh/${n}`
    );
    const options = { stamps: `${this.dir}/stamps`, since };
    return watchesOf([...files, `${this.dir}/ssh/config.d`], options, realSystem);
  }

  /** Writes the plan as of now, and resolves to its tests. */
  async plan(): Promise<string> {
    const since = Date.now();
    const watches = await this.watches(since);
    assert.ok(watches);
    await Deno.writeTextFile(`${this.dir}/plan`, "");
    await Deno.utime(`${this.dir}/plan`, new Date(since), new Date(since - 1000));
    return watchTests(watches).join(" &&\n");
  }

  async holds(shell: readonly string[], tests: string): Promise<boolean> {
    const script = `sshs_plan=$1\n${tests}`;
    const { code, stderr } = await new Deno.Command(shell[0], {
      args: [...shell.slice(1), "-c", script, "sh", `${this.dir}/plan`],
      stderr: "piped",
    }).output();
    assert.equal(new TextDecoder().decode(stderr), "");
    return code === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.dir, { recursive: true });
  }
}

const CHANGES: readonly [name: string, script: string][] = [
  ["cp over a key", "cp ka ssh/k"],
  ["cp -p over a key", "cp -p kb ssh/k"],
  ["mv of an older file over a key", "mv kb ssh/k"],
  ["mv of a newer file, older than the plan", "mv ka ssh/k"],
  ["a key removed", "rm ssh/k"],
  ["a default key appears", "mv kb ssh/id_rsa"],
  ["a link moved", "ln -sfn ../kb ssh/link"],
  ["a link moved to a file of the same time", "ln -sfn ../ka ssh/link"],
  ["a link's file written", "cp ka elsewhere/k2"],
  ["a link's file replaced", "mv kb elsewhere/k2"],
  ["a file in place of a link", "cp -p kb kx; mv kx ssh/link"],
  ["a certificate appears", "mv kb ssh/k-cert.pub"],
  ["a configuration replaced by an older one", "mv kb ssh/config"],
  ["a file appears in a directory of Includes", "mv kb ssh/config.d/x"],
  ["an older directory of Includes in its place", "mv ssh/config.d old; mv older ssh/config.d"],
  ["the directory moved away", "mv ssh ssh2"],
  ["another directory in its place", "mkdir new; mv kb new/k; mv ssh old; mv new ssh"],
];

for (const [shell, argv] of SHELLS) {
  Deno.test(`watchTests (${shell}) detect each change of a key`, async () => {
    for (const [name, script] of CHANGES) {
      await using home = await Home.create();
      const tests = await home.plan();
      assert.ok(await home.holds(argv, tests), `before ${name}`);
      await home.sh(script);
      assert.ok(!await home.holds(argv, tests), name);
    }
  });

  Deno.test(`watchTests (${shell}) hold whatever else happens in the directory`, async () => {
    await using home = await Home.create();
    const tests = await home.plan();
    await home.sh("echo >ssh/known_hosts.new; mv ssh/known_hosts.new ssh/known_hosts; cat ssh/k");
    assert.ok(await home.holds(argv, tests));
    // Without its stamp, nothing is known about a file.
    await home.sh("rm -r stamps");
    assert.ok(!await home.holds(argv, tests));
  });
}

Deno.test("watchesOf makes each stamp once, and another one for another time", async () => {
  await using home = await Home.create();
  const stamps = () => Array.from(Deno.readDirSync(`${home.dir}/stamps`), ({ name }) => name);
  const first = await home.watches();
  const { path, stamp = "" } = first![0];
  assert.equal(stamps().length, 4);
  assert.deepEqual(await home.watches(), first);
  // Half made: its time is still that of its creation.
  await Deno.utime(stamp, new Date(), new Date());
  assert.deepEqual(await home.watches(), first);
  assert.equal(
    Deno.statSync(stamp).mtime!.getTime(),
    Deno.statSync(path).mtime!.getTime(),
  );
  await home.sh("cp -p kb ssh/k"); // in place
  await pause(20);
  assert.notDeepEqual(await home.watches(), first);
  assert.equal(stamps().length, 5);
});

Deno.test("watchesOf keeps nothing of a file that has only just changed or moved", async () => {
  for (const change of ["cp ka ssh/k", "mv kb ssh/k"]) {
    await using home = await Home.create();
    const since = Date.now();
    await home.sh(change);
    assert.equal(await home.watches(since), undefined, change);
  }
});

Deno.test("watchesOf reports links and missing files", async () => {
  await using home = await Home.create();
  const watches = (await home.watches())!;
  const at = (name: string) => `${home.dir}/${name}`;
  const links = watches.filter(({ target }) => target).map(({ path, target }) => [path, target]);
  assert.deepEqual(links, [[at("ssh/link"), at("elsewhere/k2")]]);
  const absent = (it: typeof watches) => it.filter(({ stamp }) => !stamp).map(({ path }) => path);
  assert.deepEqual(absent(watches), [at("ssh/k-cert.pub"), at("ssh/id_rsa")]);
  await Deno.remove(at("elsewhere/k2"));
  assert.ok(absent((await home.watches())!).includes(at("ssh/link")), "a link that leads nowhere");
  await home.sh("touch ssh/config.d");
  assert.equal(await home.watches(), undefined, "too young for a stamp");
});

Deno.test("watchTests write no path that is relative or that no shell can hold", () => {
  assert.deepEqual(watchTests([{ path: "/it's" }]), [
    "sshs_void='/it'\\''s'",
    '[ ! -e "$sshs_void" ]',
  ]);
  const sound = { environment: { PATH: "/bin" }, job: "", sent: [] };
  const textOf = (watch: Watch) => planText("host", { ...sound, watches: [watch] }, "");
  assert.ok(textOf({ path: "/x", stamp: "/y", target: "/z" }));
  for (const path of ["k", "/a\0b", "/a\uFFFD"]) {
    assert.equal(textOf({ path }), undefined);
    assert.equal(textOf({ path: "/x", stamp: path }), undefined);
    assert.equal(textOf({ path: "/x", stamp: "/y", target: path }), undefined);
  }
});

Deno.test("dependsOnMore finds what makes the same argv resolve differently although no file changes", () => {
  for (
    const text of [
      'Match exec "test -d x"',
      "Match host a !exec b",
      "match host=a exec=b",
      "\tMatch = LocalNetwork 10.0.0.0/8",
      "Match command rsync*",
      "Match sessiontype shell",
      "CanonicalizeHostname yes",
      "Host *\n  CanonicalizeHostname=always",
      "CanonicalizePermittedCNAMEs *.a:*.b",
      "Include %h.conf",
      "Include ${NAME}.conf",
      "Include a/*/config",
      "Include ~ann/config",
    ]
  ) assert.equal(dependsOnMore(text), true, text);
  for (
    const text of [
      "",
      "# Match exec x, ${HOME}",
      "  # CanonicalizeHostname yes",
      "Host exec\n HostName exec.example\n User %u",
      "Match host a,b user c final",
      "Match all",
      "CanonicalizeHostname no",
      "CanonicalizePermittedCNAMEs none",
      "Include config.d/* ~/.ssh/x /etc/y",
      "ProxyJump jump\nIdentityFile ~/.ssh/%h",
      // The plan tests these variables.
      "IdentityFile ${KEYS}/id\nIdentityAgent $AGENT",
    ]
  ) assert.equal(dependsOnMore(text), false, text);
});

Deno.test("dependsOnSession finds the criteria that may match differently for a master", () => {
  assert.equal(dependsOnSession("Host a\nMatch host a Command rsync*"), true);
  assert.equal(dependsOnSession("Match !sessiontype=subsystem"), true);
  assert.equal(dependsOnSession("Match exec x\nRemoteCommand y\n# Match command z"), false);
});

Deno.test("includedPaths names files, and the directories of globs", () => {
  const rows: [text: string, paths: string[]][] = [
    ["", []],
    ["Include /nowhere/ssh_config.d/*.conf", ["/nowhere/ssh_config.d"]],
    ["Include /nowhere/*", ["/nowhere"]],
    ["Include ~/.ssh/config.d/[ab]", ["/home/ann/.ssh/config.d"]],
    ["Include ~/c /x", ["/home/ann/c", "/x"]],
    ['Host x\n\tinclude="/b c"/d\n# Include /e\nIncluded /f', ["/b c/d"]],
    ["Include work", ["/home/ann/.ssh/work", "/etc/ssh/work"]],
    ["Include w/?.conf w/x", [
      ...["/home/ann/.ssh/w", "/etc/ssh/w"],
      ...["/home/ann/.ssh/w/x", "/etc/ssh/w/x"],
    ]],
  ];
  for (const [text, paths] of rows) {
    assert.deepEqual(includedPaths("/etc/ssh/ssh_config", text, "/home/ann"), paths, text);
  }
});
