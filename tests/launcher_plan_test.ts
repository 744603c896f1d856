/** What the launcher does with a plan: when it holds, when it is void, and that no value in it is run. */
import assert from "node:assert/strict";
import type { Conditions } from "../lib/call/conditions.ts";
import { planText, writePlan } from "../lib/call/plan.ts";
import { quote, VERSION } from "../lib/os/program.ts";
import { Box } from "./support/box.ts";
import { isThere } from "./support/is_there.ts";
import { findProgram } from "./support/programs.ts";
import { testInShells } from "./support/launcher_functions.ts";
import { SHELLS } from "./support/shells.ts";

testInShells(
  "if a plan holds, the launcher becomes ssh over the lane, as the same process",
  (shell) => {
    using box = new Box();
    const options = ["-p", "22", "-i", "/key file", "u@host"];
    box.plan(options);
    const args = [...options, "a 'b'\n", "-x", "", "*", "$HOME"];
    const { pid, asked, ...called } = box.call(shell, args);
    assert.deepEqual(called, { program: "ssh", args: box.shared(args), code: 0, stderr: "" });
    assert.equal(asked, false);
    assert.equal(Deno.readTextFileSync(`${box.lane.leases}/${pid}`), "");
    assert.ok(isThere(`${box.state}/used`), "the sleeper is told");
  },
);

testInShells(
  "if no plan holds, the launcher asks the program, and without an answer becomes plain ssh",
  (shell) => {
    using box = new Box();
    const args = ["-v", "host", "a 'b'\n", "--", "*", ""];
    const { pid: _, ...called } = box.call(shell, args);
    assert.deepEqual(called, { program: "ssh", args, asked: true, code: 0, stderr: "" });
    const asked = Deno.readTextFileSync(`${box.dir}/deno.asked`);
    assert.match(
      asked,
      /^run .*\/nowhere\/sshs\.js .*--decide \d+ \S+ -v!host 2 -- -v host a 'b'\n -- \* \n$/s,
    );
    assert.deepEqual([...Deno.readDirSync(`${box.state}/plans`)], [], "no claim is left");
  },
);

/** How the second call differs. */
interface Change {
  args?: string[];
  env?: Record<string, string | undefined>;
}

/** Each makes a plan void that held. watches_test.ts has what may happen to files. */
const SPOILERS: Readonly<Record<string, (box: Box) => Change | void>> = {
  "another destination": () => ({ args: ["host2", "true"] }),
  "an option before the destination": () => ({ args: ["-v", "host"] }),
  "an option after the destination": () => ({ args: ["host", "-v"] }),
  "words in another case": (box) => {
    Deno.renameSync(box.planPath(), box.planPath(["HOST"]));
    return { args: ["HOST", "true"] };
  },
  "another version of sshs": (box) => change(box.planPath(), VERSION, "0.0.1"),
  "another PATH": ({ env }) => ({ env: { PATH: `${env.PATH}:/opt` } }),
  "another agent": () => ({ env: { SSH_AUTH_SOCK: "/nowhere/another" } }),
  "no agent": () => ({ env: { SSH_AUTH_SOCK: undefined } }),
  "a variable that was not set before": () => ({ env: { DISPLAY: ":0" } }),
  "another job": () => ({ env: { JENKINS_NODE_COOKIE: "build-7" } }),
  "a variable that a proxy may read": (box) => {
    box.plan(["host"], { isWhole: true });
    return { env: { WHERE: "elsewhere" } };
  },
  "variables that are too long together": (box) => {
    box.plan(["host"], { sent: ["ONE", "TWO"] });
    return { env: { ONE: "1".repeat(40_000), TWO: "2".repeat(40_000) } };
  },
  "no ssh any more": (box) => {
    Deno.renameSync(`${box.dir}/real/ssh`, `${box.dir}/real/ssh2`);
    Deno.mkdirSync(`${box.dir}/other`);
    Deno.copyFileSync(`${box.dir}/real/ssh2`, `${box.dir}/other/ssh`);
    const PATH = `${box.dir}/other:${box.env.PATH}`;
    box.plan(["host"], { environment: { PATH } });
    return { env: { PATH } };
  },
  "a plan that another call asked for": askedByAnother,
  "a plan that another call asked for, and its pid in the environment": (box) => {
    askedByAnother(box);
    return { env: { sshs_asked: `${Deno.pid}` } };
  },
  "a plan behind a link": (box) => {
    Deno.renameSync(box.planPath(), `${box.dir}/plan`);
    Deno.symlinkSync(`${box.dir}/plan`, box.planPath());
  },
  "a directory in place of a plan": (box) => {
    Deno.removeSync(box.planPath());
    Deno.mkdirSync(box.planPath());
  },
  "no plan": (box) => Deno.removeSync(box.planPath()),
  ...(Deno.uid() === 0 && {
    "a plan of another user": (box) => Deno.chownSync(box.planPath(), 54321, 54321),
  }),
};

function change(path: string, from: string, to: string): void {
  const text = Deno.readTextFileSync(path);
  assert.ok(text.includes(from));
  Deno.writeTextFileSync(path, text.replace(from, () => to));
}

/** A plan for the moment, which is only for those who waited for it. */
function askedByAnother(box: Box): void {
  box.plan(["host"], { watches: undefined }, { asker: Deno.pid });
}

testInShells("a plan is void as soon as one of its conditions fails", async (shell, _, test) => {
  for (const [name, spoil] of Object.entries(SPOILERS)) {
    await test.step(name, () => {
      using box = new Box();
      box.plan();
      assert.equal(box.call(shell, ["host", "true"]).asked, false, "it held");
      const { args = ["host", "true"], env } = spoil(box) ?? {};
      const { asked, program, stderr, ...called } = box.call(shell, args, { env });
      assert.deepEqual({ asked, program, stderr }, { asked: true, program: "ssh", stderr: "" });
      assert.deepEqual(called.args, args, "plain");
    });
  }
});

testInShells("a plan that is cut short anywhere is void and harmless", (shell) => {
  using box = new Box();
  box.plan(["host"], { watches: [{ path: "/nowhere/it's" }] });
  const text = Deno.readTextFileSync(box.planPath());
  const step = shell[0].endsWith("dash") ? 7 : 23;
  // Losing only the final newline does not matter.
  for (let length = text.length - 2; length >= 0; length -= step) {
    Deno.writeTextFileSync(box.planPath(), text.slice(0, length));
    const { program, args, stderr } = box.call(shell, ["host", "true"]);
    assert.deepEqual({ program, args, stderr }, {
      program: "ssh",
      args: ["host", "true"],
      stderr: "",
    }, text.slice(0, length));
  }
});

const HOSTILE = [
  "it's",
  "''; touch pwned; '",
  "$(touch pwned)",
  "`touch pwned`",
  "\n touch pwned\n",
  '"; touch pwned; "',
  "\\' & touch pwned & \\",
  "${IFS}* ? [a-z] ~ !! # -n",
  "\u00fc\u20ac\u{1F600}\u0080\u0001",
];

testInShells("a plan never runs the text of a path or a variable", (shell) => {
  for (const hostile of HOSTILE) {
    using box = new Box(hostile.replaceAll("/", ""));
    box.env.SSH_AUTH_SOCK = hostile;
    const watched = `${box.dir}/watch ${hostile}`;
    Deno.mkdirSync(watched);
    Deno.utimeSync(watched, 0, 0);
    const watches = [
      { path: watched, stamp: watched, target: watched },
      { path: `${watched}/absent` },
    ];
    box.plan(["host"], { watches }, { host: hostile });
    const args = ["host", hostile];
    const called = box.call(shell, args, { cwd: box.dir });
    assert.equal(called.asked, false, JSON.stringify(hostile));
    assert.deepEqual(called.args, box.shared(args));
    assert.equal(called.stderr, "");
    assert.equal(isThere(`${box.dir}/pwned`), false, hostile);
  }
});

testInShells("the session gets the caller's variables, whatever their names", (shell) => {
  using box = new Box();
  box.plan();
  box.write("startup", "echo from the startup file\n");
  const theirs = {
    socket: "a",
    key: "b",
    plan: "c",
    deno: "d",
    word: "e",
    OPTIND: "7",
    ENV: `${box.dir}/startup`,
    BASH_ENV: `${box.dir}/startup`,
    NODE_OPTIONS: "--no-warnings",
    CDPATH: "/",
  };
  const ours = {
    sshs_plan: "/etc/passwd",
    sshs_key: "x",
    sshs_kind: "share",
    sshs_task: "open",
    sshs_open: "yes",
    sshs_ssh: "/bin/false",
    sshs_socket: "/nowhere",
    sshs_lane: "/nowhere",
    sshs_version: "9",
    sshs_dir: "/nowhere",
    sshs_verbose: "yes",
    sshs_via: ".via",
    sshs_is_here: "no",
    "BASH_FUNC_sshs_take%%": "() {  echo taken; }",
    IFS: "0s",
    OPTARG: "x",
    SHELLOPTS: "noglob:noclobber:nounset:errexit",
  };
  const names = Object.keys(theirs).filter((name) => name !== "OPTIND");
  const values = names.map((name) => `"$(printenv ${name})"`).join(" ");
  box.write("real/ssh", `#!/bin/sh\nprintf '%s\\0' ssh "$$" ${values}\n`, 0o755);
  const { program, args, asked, stderr } = box.call(shell, ["host"], {
    env: { ...theirs, ...ours },
  });
  assert.deepEqual({ program, asked, stderr }, { program: "ssh", asked: false, stderr: "" });
  assert.deepEqual(args, names.map((name) => theirs[name as keyof typeof theirs]));
});

testInShells("with SSHS=off the launcher is plain ssh, scp and sftp", (shell) => {
  using box = new Box();
  box.plan();
  for (const name of ["ssh", "scp", "sftp"]) {
    const env = { SSHS: "off" };
    const { program, args, asked } = box.call(shell, ["host:*", "-x", ""], { name, env });
    assert.deepEqual({ program, args, asked }, {
      program: name,
      args: ["host:*", "-x", ""],
      asked: false,
    });
  }
});

testInShells(
  "scp and sftp get our ssh and nothing else",
  (shell) => {
    using box = new Box();
    const args = ["-r", "a b", "host:*", "-S", "x"];
    for (const name of ["scp", "sftp"]) {
      const called = box.call(shell, args, { name });
      assert.equal(called.program, name);
      assert.deepEqual(called.args, ["-S", `${box.dir}/lib/bin/ssh`, ...args]);
    }
  },
);

testInShells("without a real ssh the launcher says so and exits with 127", (shell) => {
  using box = new Box();
  Deno.removeSync(`${box.dir}/real`, { recursive: true });
  for (const name of ["ssh", "scp", "sftp"]) {
    const env = { PATH: `${box.dir}/ours` };
    const { code, stderr } = box.call(shell, ["host"], { name, env });
    assert.deepEqual([code, stderr], [
      127,
      `sshs: no ${name} in PATH but the launcher of sshs\n`,
    ]);
  }
});

/** Where there is no strace the tests are skipped. */
const STRACE = findProgram("strace");

for (const [name, shell] of SHELLS) {
  Deno.test(`a call over an open lane forks nothing (${name})`, { ignore: !STRACE }, () => {
    using box = new Box();
    Deno.copyFileSync("/bin/true", `${box.dir}/real/ssh`);
    box.plan();
    // Leases left by other calls, but not so many that they are removed.
    for (let n = 0; n < 10; n++) Deno.writeTextFileSync(`${box.lane.leases}/${9999900 + n}`, "");
    const traced = ["-f", "-e", "trace=process", ...shell, `${box.dir}/ours/ssh`, "host"];
    const { stderr } = new Deno.Command(STRACE!, {
      args: traced,
      clearEnv: true,
      env: box.env,
      stdout: "null",
    }).outputSync();
    const trace = new TextDecoder().decode(stderr);
    assert.match(trace, /execve\(".*real\/ssh", .*"ControlMaster=no"/);
    assert.doesNotMatch(trace, /fork|clone/);
  });
}

Deno.test("quote refuses text that a shell or Deno cannot hold", () => {
  assert.equal(quote("a'b"), "'a'\\''b'");
  for (const text of ["a\0b", "\uFFFD", "\uD800"]) assert.equal(quote(text), undefined);
});

Deno.test("planText writes no plan that it could not write faithfully", () => {
  const sound = { environment: { PATH: "/bin" }, job: "", sent: [], watches: [] };
  const textOf = (conditions: Conditions) => planText("host", conditions, "sshs_kind=direct\n");
  assert.match(textOf(sound)!, /\nsshs_kind=direct\n\}\n$/);
  const faults = [
    { watches: [{ path: "/etc/\uFFFD" }] },
    { watches: [{ path: "relative" }] },
    { watches: [{ path: "/x", stamp: "/a\0b" }] },
    { watches: [{ path: "/x", stamp: "/y", target: "relative" }] },
    { watches: undefined },
    { environment: {} },
    { environment: { PATH: "/bin", "A;touch pwned;": "" } },
    { environment: { PATH: "/bin", A: "\uD800" } },
    { sent: ["A}$(touch pwned)"] },
    { job: "\0" },
  ];
  for (const fault of faults) {
    assert.equal(textOf({ ...sound, ...fault }), undefined, JSON.stringify(fault));
  }
});

Deno.test("writePlan leaves one file, for its user alone, dated before the configuration was read", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const since = Date.now();
    writePlan(dir, "host", "text", since);
    assert.deepEqual([...Deno.readDirSync(`${dir}/plans`)].map(({ name }) => name), ["host"]);
    const { mode, mtime } = Deno.statSync(`${dir}/plans/host`);
    assert.equal(mode! & 0o777, 0o600);
    assert.ok(mtime!.getTime() <= since - 1000, `${since - mtime!.getTime()} ms`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
