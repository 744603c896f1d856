import assert from "node:assert/strict";
import { type CachedPlan, planKey, planText, quote, writePlan } from "../lib/launcher/plan_file.ts";
import { findRealSsh, LAUNCHER_MARK } from "../lib/ssh/real_ssh.ts";
import { exists } from "./support/exists.ts";

const VERSION = "1.2.3";
const FLAGS = ["--quiet", "--no-prompt", "--allow-read"];

/** The shells that are somebody's /bin/sh, as they are when called by that name. */
const SHELLS = ["dash", "bash", "busybox", "zsh"].map((name) => ({
  name,
  path: ["/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"]
    .map((directory) => `${directory}/${name}`).find(exists),
}));

/** A machine of its own: a real ssh and a deno that only tell how they were called, and one lane. */
class Box implements Disposable {
  readonly root: string;
  readonly state: string;
  readonly #listener: Deno.Listener;
  readonly environment: Record<string, string | undefined>;

  constructor(name = "box") {
    this.root = Deno.makeTempDirSync({ prefix: "sshs-" });
    // A control socket has 108 bytes for its path; the hostile name of a box need not be in it.
    const base = `${this.root}/${name}`;
    this.state = `${base}/state`;
    for (const path of ["state/plans", "state/leases", "real", "ours", "shells"]) {
      Deno.mkdirSync(`${base}/${path}`, { recursive: true, mode: 0o700 });
    }
    for (const program of ["ssh", "scp", "sftp"]) this.program(`${base}/real/${program}`);
    this.program(`${base}/deno`);
    Deno.writeTextFileSync(`${base}/sshs.js`, "");
    for (const { name, path } of SHELLS) {
      if (path === undefined) continue;
      Deno.mkdirSync(`${base}/shells/${name}`);
      Deno.symlinkSync(path, `${base}/shells/${name}/sh`);
    }
    for (const program of ["ssh", "scp", "sftp"]) {
      Deno.writeTextFileSync(`${base}/ours/${program}`, this.launcher(), { mode: 0o755 });
    }
    this.#listener = Deno.listen({ transport: "unix", path: `${this.state}/socket` });
    Deno.writeTextFileSync(`${this.state}/sleeper`, `${Deno.pid}\nmore\n`);
    this.date("state/verified", +20);
    Deno.writeTextFileSync(`${base}/config`, "");
    this.date("config", -100);
    this.environment = {
      PATH: `${base}/ours:${base}/real:/usr/bin:/bin`,
      SSHS_DIR: this.state,
      SSH_AUTH_SOCK: "/tmp/agent",
      EMPTY: "",
    };
  }

  get base(): string {
    return this.state.slice(0, -"/state".length);
  }

  /** A program that prints its name, its pid and its arguments, each ended by a NUL. */
  program(path: string): void {
    Deno.writeTextFileSync(path, `#!/bin/sh\nprintf '%s\\0' "\${0##*/}" $$ "$@"\n`, {
      mode: 0o755,
    });
  }

  launcher(): string {
    const head = [
      "#!/bin/sh",
      `${LAUNCHER_MARK} (test)`,
      `sshs_version=${quote(VERSION)}`,
      `sshs_uid=${Deno.uid()}`,
      `sshs_bin=${quote(`${this.base}/ours`)}`,
      `sshs_deno=${quote(`${this.base}/deno`)}`,
      `sshs_program=${quote(`${this.base}/sshs.js`)}`,
      `sshs_flags=${quote(FLAGS.join(" "))}`,
    ];
    const text = Deno.readTextFileSync(new URL("../lib/launcher/launcher.sh", import.meta.url));
    return `${head.join("\n")}\n${text}`;
  }

  /** Sets the time of a file, made if need be, to so many seconds from now. */
  date(path: string, seconds: number): void {
    Deno.writeTextFileSync(`${this.base}/${path}`, "", { append: true });
    const time = new Date(Date.now() + seconds * 1000);
    Deno.utimeSync(`${this.base}/${path}`, time, time);
  }

  plan(changes: Partial<CachedPlan> = {}): CachedPlan {
    return {
      leading: ["host"],
      ssh: `${this.base}/real/ssh`,
      socket: `${this.state}/socket`,
      verified: `${this.state}/verified`,
      leases: `${this.state}/leases`,
      sleeper: `${this.state}/sleeper`,
      maxSessions: 3,
      watch: [`${this.base}/config`, `${this.base}/config.d`],
      pins: [{ link: `${this.base}/config`, target: `${this.base}/config` }],
      environment: {
        PATH: this.environment.PATH,
        SSH_AUTH_SOCK: this.environment.SSH_AUTH_SOCK,
        EMPTY: "",
        DISPLAY: undefined,
      },
      version: VERSION,
      ...changes,
    };
  }

  write(changes: Partial<CachedPlan> = {}): void {
    assert.equal(writePlan(this.state, this.plan(changes), Date.now()), true);
  }

  run(
    shell: string,
    args: string[],
    { name = "ssh", environment = {} as Record<string, string | undefined> } = {},
  ): { called: string; pid: number; args: string[]; code: number; stderr: string; stdout: string } {
    const env = Object.fromEntries(
      Object.entries({ ...this.environment, ...environment })
        .filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
    const { code, stdout, stderr } = new Deno.Command(`${this.base}/shells/${shell}/sh`, {
      args: [`${this.base}/ours/${name}`, ...args],
      clearEnv: true,
      env,
      cwd: this.root,
      stdin: "null",
    }).outputSync();
    const text = new TextDecoder().decode(stdout);
    const [called, pid, ...rest] = text.split("\0").slice(0, -1);
    const error = new TextDecoder().decode(stderr);
    return { called, pid: Number(pid), args: rest, code, stderr: error, stdout: text };
  }

  /** What the fast way hands to ssh. */
  shared(args: string[]): string[] {
    return ["-S", `${this.state}/socket`, "-o", "ControlMaster=no", ...args];
  }

  [Symbol.dispose](): void {
    this.#listener.close();
    Deno.removeSync(this.root, { recursive: true });
  }
}

/** The pid of a process that has ended. */
function deadPid(): number {
  const { stdout } = new Deno.Command("/bin/sh", { args: ["-c", "echo $$"] }).outputSync();
  return Number(new TextDecoder().decode(stdout));
}

for (const { name: shell, path } of SHELLS) {
  // A shell that is not here has its tests ignored: they are not to vanish unseen.
  const ignore = path === undefined;

  Deno.test(`launcher (${shell}) becomes ssh over the lane's socket, as the same process`, {
    ignore,
  }, () => {
    using box = new Box();
    box.write({ leading: ["-p", "22", "-i", "/key file", "u@host"] });
    const args = ["-p", "22", "-i", "/key file", "u@host", "a 'b'\n", "-x", "", "*"];
    const result = box.run(shell, args);
    assert.deepEqual(
      { called: result.called, args: result.args, stderr: result.stderr, code: result.code },
      { called: "ssh", args: box.shared(args), stderr: "", code: 0 },
    );
    assert.equal(Deno.readTextFileSync(`${box.state}/leases/${result.pid}`), "");
  });

  Deno.test(`launcher (${shell}) hands everything to the program where there is no plan`, {
    ignore,
  }, () => {
    using box = new Box();
    const args = ["-v", "host", "a 'b'\n", "--", "*", ""];
    const result = box.run(shell, args);
    assert.equal(result.called, "deno");
    assert.deepEqual(result.args, ["run", ...FLAGS, `${box.base}/sshs.js`, "--as=ssh", ...args]);
    assert.equal(result.stderr, "");
  });

  Deno.test(`launcher (${shell}) takes the slow way as soon as one point of the plan fails`, {
    ignore,
  }, () => {
    for (const [name, spoil] of Object.entries(SPOILERS)) {
      using box = new Box();
      box.write();
      const { args = ["host", "true"], environment } = spoil(box) ?? {};
      const result = box.run(shell, args, { environment });
      assert.equal(result.called, "deno", name);
      assert.equal(result.stderr, "", name);
      assert.deepEqual(result.args.slice(-args.length), args, name);
    }
  });

  Deno.test(
    `launcher (${shell}) looks for the state directory where the program does`,
    { ignore },
    () => {
      const uid = Deno.uid();
      const cases: [string, string, Record<string, string | undefined>][] = [
        ["XDG_RUNTIME_DIR first", "run/sshs", { XDG_RUNTIME_DIR: "run", TMPDIR: "tmp" }],
        ["one that is not there", `tmp/sshs-${uid}`, { XDG_RUNTIME_DIR: "none", TMPDIR: "tmp" }],
        ["a file", `tmp/sshs-${uid}`, { XDG_RUNTIME_DIR: "config", TMPDIR: "tmp" }],
        ["none", `tmp/sshs-${uid}`, { XDG_RUNTIME_DIR: "", TMPDIR: "tmp" }],
      ];
      for (const [name, place, variables] of cases) {
        using box = new Box();
        box.write();
        Deno.mkdirSync(`${box.base}/run`);
        Deno.mkdirSync(`${box.base}/${place}`, { recursive: true });
        Deno.renameSync(`${box.state}/plans`, `${box.base}/${place}/plans`);
        const environment = Object.fromEntries(
          Object.entries(variables).map(([key, value]) => [key, value && `${box.base}/${value}`]),
        );
        const result = box.run(shell, ["host"], {
          environment: { SSHS_DIR: undefined, ...environment },
        });
        assert.equal(result.called, "ssh", name);
      }
    },
  );

  Deno.test(`launcher (${shell}) counts live leases only`, { ignore }, () => {
    using box = new Box();
    box.write({ maxSessions: 2 });
    for (let n = 0; n < 20; n++) Deno.writeTextFileSync(`${box.state}/leases/${9999900 + n}`, "");
    Deno.writeTextFileSync(`${box.state}/leases/${Deno.pid}`, "");
    assert.equal(box.run(shell, ["host"]).called, "ssh");
    Deno.writeTextFileSync(`${box.state}/leases/${Deno.ppid}`, "");
    const full = box.run(shell, ["host"]);
    assert.equal(full.called, "deno");
    assert.ok(!exists(`${box.state}/leases/${full.pid}`), "it takes no place that it cannot use");
  });

  Deno.test(`launcher (${shell}) and planKey make the same key`, { ignore }, () => {
    using box = new Box();
    const random = generator(42);
    for (let n = 0; n < 60; n++) {
      const leading = Array.from({ length: 1 + random(5) }, () => word(random));
      const planned = writePlan(box.state, box.plan({ leading }), Date.now());
      assert.equal(planned, planKey(leading) !== undefined);
      const result = box.run(shell, [...leading, "command"]);
      assert.equal(result.called, planned ? "ssh" : "deno", JSON.stringify(leading));
      for (const { name } of Deno.readDirSync(`${box.state}/plans`)) {
        Deno.removeSync(`${box.state}/plans/${name}`);
      }
    }
  });

  Deno.test(`launcher (${shell}) runs nothing that a path or a variable says`, { ignore }, () => {
    for (const hostile of HOSTILE) {
      using box = new Box(`${hostile}`);
      box.environment.SSH_AUTH_SOCK = hostile;
      const watched = `${box.base}/watch ${hostile}`;
      Deno.mkdirSync(watched);
      Deno.utimeSync(watched, 0, 0);
      box.write({
        watch: [watched, `${watched}/absent`],
        pins: [{ link: watched, target: watched }],
      });
      const result = box.run(shell, ["host", hostile]);
      assert.equal(result.called, "ssh", JSON.stringify(hostile));
      assert.deepEqual(result.args, box.shared(["host", hostile]));
      assert.equal(result.stderr, "");
      assert.equal(exists(`${box.root}/pwned`), false, hostile);
    }
  });

  Deno.test(`launcher (${shell}) leaves the caller's variables alone, whatever they are called`, {
    ignore,
  }, () => {
    using box = new Box();
    box.write();
    Deno.writeTextFileSync(`${box.base}/startup`, `echo from startup file\n`);
    const theirs = {
      socket: "a",
      key: "b",
      plan: "c",
      ssh: "d",
      deno: "e",
      version: "f",
      word: "g",
      PID: "h",
      IFS: "0",
      LC_ALL: "C.UTF-8",
      ENV: `${box.base}/startup`,
      BASH_ENV: `${box.base}/startup`,
    };
    const ours = {
      sshs_plan: "/etc/passwd",
      sshs_key: "x",
      sshs_free: "99",
      sshs_ssh: "/bin/false",
      sshs_pid: "1",
      sshs_found: "/bin/false",
      sshs_version: "9",
      SHELLOPTS: "noglob:noclobber:nounset:errexit",
    };
    Deno.writeTextFileSync(
      `${box.base}/real/ssh`,
      `#!/bin/sh\nprintf '%s\\0' ssh $$ "$socket$key$plan$ssh$deno$version$word$PID"\n`,
    );
    const result = box.run(shell, ["host"], { environment: { ...theirs, ...ours } });
    assert.deepEqual([result.called, ...result.args], ["ssh", "abcdefgh"]);
    assert.equal(result.stderr, "");
  });

  Deno.test(`launcher (${shell}) becomes the plain ssh when it is off`, { ignore }, () => {
    using box = new Box();
    box.write();
    const environment = { SSHS: "off" };
    const result = box.run(shell, ["host", "-x", ""], { environment });
    assert.deepEqual([result.called, ...result.args], ["ssh", "host", "-x", ""]);
    const copy = box.run(shell, ["a", "b:"], { environment, name: "scp" });
    assert.deepEqual([copy.called, ...copy.args], ["scp", "a", "b:"]);
  });

  Deno.test(`launcher (${shell}) finds the same real ssh as findRealSsh`, { ignore }, () => {
    using box = new Box();
    const at = (name: string) => `${box.base}/${name}`;
    Deno.symlinkSync(at("ours"), at("link"));
    Deno.mkdirSync(at("copy"));
    Deno.copyFileSync(at("ours/ssh"), at("copy/ssh"));
    Deno.mkdirSync(at("directory/ssh"), { recursive: true });
    Deno.mkdirSync(at("locked"));
    Deno.writeTextFileSync(at("locked/ssh"), "", { mode: 0o644 });
    box.program(at("other"));
    const cases: [string, Record<string, string>, string][] = [
      ["link:copy:directory:nowhere:locked:real", {}, at("real/ssh")],
      ["link:real", { SSHS_SSH: at("other") }, at("other")],
      ["link:real", { SSHS_SSH: at("copy/ssh") }, at("real/ssh")],
      ["link:real", { SSHS_SSH: "other" }, at("real/ssh")],
      // A script that an outer call has become, and that calls ssh again.
      ["link:real", { SSHS_SSH: at("other"), SSHS_INSIDE: at("other") }, at("real/ssh")],
      ["link:real", { SSHS_SSH: at("other"), SSHS_INSIDE: `/x:${at("other")}:/y` }, at("real/ssh")],
    ];
    for (const [path, variables, expected] of cases) {
      const PATH = path.split(":").map(at).join(":") + ":relative::";
      const environment = { ...variables, PATH, SSHS: "off" };
      const result = box.run(shell, ["-p", "2", "host"], { environment });
      assert.deepEqual(
        [result.called, ...result.args],
        [expected.split("/").at(-1), "-p", "2", "host"],
        JSON.stringify(variables),
      );
      const env = (name: string) => ({ PATH, ...variables } as Record<string, string>)[name];
      assert.equal(findRealSsh({ env }), expected);
    }
  });

  Deno.test(`launcher (${shell}) does without the program, and says when there is no ssh`, {
    ignore,
  }, () => {
    using box = new Box();
    Deno.removeSync(`${box.base}/deno`);
    const PATH = `${box.base}/ours:${box.base}/real`;
    assert.equal(box.run(shell, ["host"], { environment: { PATH } }).called, "ssh");
    box.program(`${box.base}/real/deno`);
    assert.equal(box.run(shell, ["host"], { environment: { PATH } }).called, "deno", "one in PATH");
    Deno.removeSync(`${box.base}/real`, { recursive: true });
    const result = box.run(shell, ["host"], { environment: { PATH } });
    assert.equal(result.code, 127);
    assert.match(result.stderr, /^sshs: there is no ssh in PATH .*\n$/);
  });

  Deno.test(`launcher (${shell}) gives scp and sftp our ssh, and nothing else`, { ignore }, () => {
    using box = new Box();
    for (const name of ["scp", "sftp"]) {
      const args = ["-r", "a b", "host:*", "-S", "x"];
      const result = box.run(shell, args, { name });
      assert.deepEqual([result.called, ...result.args], [
        name,
        "-S",
        `${box.base}/ours/ssh`,
        ...args,
      ]);
    }
    Deno.removeSync(`${box.base}/ours/ssh`);
    assert.deepEqual(box.run(shell, ["a"], { name: "scp" }).args, ["a"]);
  });

  Deno.test({
    name: `launcher (${shell}) does not fork on its way to a shared session`,
    ignore: ignore || !exists("/usr/bin/strace"),
    fn: () => {
      using box = new Box();
      Deno.copyFileSync("/bin/true", `${box.base}/real/ssh`);
      box.write();
      for (let n = 0; n < 20; n++) Deno.writeTextFileSync(`${box.state}/leases/${9999900 + n}`, "");
      const { stderr } = new Deno.Command("/usr/bin/strace", {
        args: [
          "-f",
          "-e",
          "trace=process",
          `${box.base}/shells/${shell}/sh`,
          `${box.base}/ours/ssh`,
        ]
          .concat("host"),
        clearEnv: true,
        env: box.environment as Record<string, string>,
        stdout: "null",
      }).outputSync();
      const trace = new TextDecoder().decode(stderr);
      assert.match(trace, /execve\(".*real\/ssh", .*"ControlMaster=no"/);
      assert.doesNotMatch(trace, /fork|clone/);
    },
  });
}

/** Each makes a plan that held void: what the second call says differently, if anything. */
const SPOILERS: Record<
  string,
  (box: Box) => { args?: string[]; environment?: Record<string, string | undefined> } | void
> = {
  "another destination": () => ({ args: ["host2", "true"] }),
  "an option in front": () => ({ args: ["-v", "host"] }),
  "an option behind the destination": () => ({ args: ["host", "-v"] }),
  "a key that differs in case": (box) => {
    Deno.renameSync(`${box.state}/plans/host`, `${box.state}/plans/HOST`);
    return { args: ["HOST", "true"] };
  },
  "another version of sshs": (box) => box.write({ version: "1.2.4" }),
  "another PATH": (box) => ({ environment: { PATH: `${box.environment.PATH}:/opt` } }),
  "another agent": () => ({ environment: { SSH_AUTH_SOCK: "/tmp/agent2" } }),
  "an agent less": () => ({ environment: { SSH_AUTH_SOCK: undefined } }),
  "a display more": () => ({ environment: { DISPLAY: "" } }),
  "a variable unset that was empty": () => ({ environment: { EMPTY: undefined } }),
  "SSHS_INSIDE": () => ({ environment: { SSHS_INSIDE: "/usr/bin/ssh" } }),
  "SSHS_SSH": () => ({ environment: { SSHS_SSH: "/usr/bin/ssh" } }),
  "SSHS_LINGER": () => ({ environment: { SSHS_LINGER: "5" } }),
  "SSHS_MAX_SESSIONS": () => ({ environment: { SSHS_MAX_SESSIONS: "5" } }),
  "no socket": (box) => Deno.removeSync(`${box.state}/socket`),
  "a file for a socket": (box) => {
    Deno.removeSync(`${box.state}/socket`);
    box.date("state/socket", 0);
  },
  "no sleeper": (box) => Deno.removeSync(`${box.state}/sleeper`),
  "a dead sleeper": (box) => Deno.writeTextFileSync(`${box.state}/sleeper`, `${deadPid()}\n`),
  "no pid in the sleeper's file": (box) => Deno.writeTextFileSync(`${box.state}/sleeper`, "\n"),
  "a process group in the sleeper's file": (box) =>
    Deno.writeTextFileSync(`${box.state}/sleeper`, "-1\n"),
  "a lane withdrawn": (box) => Deno.removeSync(`${box.state}/leases`),
  "a mark that ran out": (box) => box.date("state/verified", -3),
  "no mark": (box) => Deno.removeSync(`${box.state}/verified`),
  "a configuration file changed": (box) => box.date("config", 0),
  "a configuration file gone": (box) => Deno.removeSync(`${box.base}/config`),
  "a configuration file new, though old": (box) => box.date("config.d", -1000),
  "a pin moved": (box) => {
    box.date("other", -100);
    box.write({ pins: [{ link: `${box.base}/config`, target: `${box.base}/other` }] });
  },
  "a lane full": (box) => box.write({ maxSessions: 0 }),
  "no ssh any more": (box) => Deno.removeSync(`${box.base}/real/ssh`),
  "a state directory behind a link": (box) => {
    Deno.symlinkSync(box.state, `${box.base}/link`);
    return { environment: { SSHS_DIR: `${box.base}/link` } };
  },
  "a plan behind a link": (box) => {
    Deno.renameSync(`${box.state}/plans/host`, `${box.state}/plans/real`);
    Deno.symlinkSync("real", `${box.state}/plans/host`);
  },
  "a plan cut short": (box) => {
    const text = Deno.readTextFileSync(`${box.state}/plans/host`);
    Deno.writeTextFileSync(`${box.state}/plans/host`, text.slice(0, -40));
  },
  "an empty plan": (box) => Deno.writeTextFileSync(`${box.state}/plans/host`, ""),
  "a relative state directory": () => ({ environment: { SSHS_DIR: "state" } }),
  ...(Deno.uid() === 0 && {
    "a state directory of another user": (box) => Deno.chownSync(box.state, 1, 1),
    "a plan of another user": (box) => Deno.chownSync(`${box.state}/plans/host`, 1, 1),
  }),
};

const HOSTILE = [
  "it's",
  "''; touch pwned; '",
  "$(touch pwned)",
  "`touch pwned`",
  "\n touch pwned\n",
  '"; touch pwned; "',
  "\\' & touch pwned & \\",
  "${IFS}* ? [a-z] ~ !! # -n",
  "ü€\u{1F600}\u0080\u0001",
];

/** Numbers below n that are the same in each run (mulberry32). */
function generator(seed: number): (n: number) => number {
  return (n) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

function word(random: (n: number) => number): string {
  const usual = [
    "-p",
    "22",
    "-4tp",
    "u@h",
    "-i",
    "/a/b//c/",
    "-oA=b c",
    "h-1.x_y",
    "::1",
    "-J",
    "a,b",
  ];
  const odd = [
    "",
    "é",
    "a!b",
    "a^b",
    "a\nb",
    "a'b",
    "[::1]",
    "%h",
    "+x",
    "~",
    ".",
    "x".repeat(150),
  ];
  return random(8) === 0 ? odd[random(odd.length)] : usual[random(usual.length)];
}

Deno.test("launcher.sh keeps to 60 lines of code, comments and blank lines not counted", () => {
  const text = Deno.readTextFileSync(new URL("../lib/launcher/launcher.sh", import.meta.url));
  const code = text.split("\n").filter((line) => !/^\s*(#|$)/.test(line));
  assert.ok(code.length <= 60, `${code.length} lines`);
});

Deno.test("planKey keeps apart what a join could mix up", () => {
  const lists = [["a", "b"], ["a b"], ["ab"], ["a/b"], ["a", "/b"], ["a/", "b"], ["A", "b"]];
  assert.equal(new Set(lists.map(planKey)).size, lists.length);
});

Deno.test("planKey refuses what is empty, long, or outside of the alphabet", () => {
  for (
    const leading of [[], [""], ["a", ""], ["é"], ["a!b"], ["a^b"], ["a#b"], ["a\n"], ["a\0b"]]
  ) {
    assert.equal(planKey(leading), undefined, JSON.stringify(leading));
  }
  assert.equal(planKey(["x".repeat(200)])?.length, 200);
  assert.equal(planKey(["x".repeat(100), "y".repeat(100)]), undefined);
});

Deno.test("quote refuses what was lost before it could be quoted", () => {
  assert.equal(quote("a'b"), "'a'\\''b'");
  for (const text of ["a\0b", "\uFFFD", "\uD800"]) assert.equal(quote(text), undefined);
});

Deno.test("planText refuses a plan that it could not write down faithfully", () => {
  using box = new Box();
  const faults: Partial<CachedPlan>[] = [
    { leading: ["\uFFFD"] },
    { ssh: "ssh" },
    { socket: "relative" },
    { watch: ["/etc/\uFFFD"] },
    { pins: [{ link: "/a\0b", target: "/a" }] },
    { environment: {} },
    { environment: { PATH: "/bin", "A;touch pwned;": "" } },
    { environment: { PATH: "/bin", A: "\uD800" } },
    { version: "\0" },
    { maxSessions: Infinity },
  ];
  for (const fault of faults) {
    assert.equal(planText(box.plan(fault)), undefined, JSON.stringify(fault));
    assert.equal(writePlan(box.state, box.plan(fault), Date.now()), false);
  }
  assert.deepEqual([...Deno.readDirSync(`${box.state}/plans`)], []);
});

Deno.test("writePlan leaves one private file, dated before the look at the configuration", () => {
  using box = new Box();
  Deno.removeSync(`${box.state}/plans`);
  const since = Date.now();
  assert.equal(writePlan(box.state, box.plan(), since), true);
  assert.deepEqual([...Deno.readDirSync(`${box.state}/plans`)].map(({ name }) => name), ["host"]);
  const { mode, mtime } = Deno.statSync(`${box.state}/plans/host`);
  assert.equal(mode! & 0o777, 0o600);
  assert.equal(mtime!.getTime(), since - 2000);
});

Deno.test("writePlan returns false where the system does not let it write", () => {
  using box = new Box();
  assert.equal(writePlan(`${box.root}/nowhere`, box.plan(), Date.now()), false);
  Deno.mkdirSync(`${box.state}/plans/host/full`, { recursive: true });
  assert.equal(writePlan(box.state, box.plan(), Date.now()), false);
  assert.deepEqual([...Deno.readDirSync(`${box.state}/plans`)].map(({ name }) => name), ["host"]);
});
