/** What the launcher settles for each call: the words, the plan's name, the state directory, the real ssh, the job. */
import assert from "node:assert/strict";
import { LAUNCHER_MARK } from "../lib/ssh/real_ssh.ts";
import { canMakeAccounts } from "./support/account.ts";
import { isThere } from "./support/is_there.ts";
import { deadPid } from "./support/lanes.ts";
import { outputOf, testInShells } from "./support/launcher_functions.ts";

type Environment = Readonly<Record<string, string>>;

/** What the launcher makes of words: they go direct, are open, or are open only with a settings file. */
const DIRECT = "direct";
const OPEN = "open";
const RULED = "ruled";

const WORDS: readonly (readonly [verdict: string, ...words: string[]])[] = [
  [OPEN, "host"],
  [OPEN, "user@host", "ls", "-N", "-L", "x"],
  [OPEN, "-4tp", "22", "host"],
  [OPEN, "-tp22", "host"],
  [OPEN, "host", "-p", "22", "-v", "--", "-N"],
  [OPEN, "host", "-T", "ls", "-N"],
  [OPEN, "--", "host", "-N"],
  [OPEN, "-p", "22", "--", "host", "-N"],
  // ssh.c looks at the word before the destination, whatever it was.
  [OPEN, "-l", "--", "host", "-N"],
  [DIRECT, "-l--", "host", "-N"],
  [OPEN, "-W", "a:1", "host"],
  [OPEN, "-s", "host", "sftp"],
  [OPEN, "-J", "jump", "host"],
  [OPEN, "-", "-p", "22"],
  [OPEN, "-o", "ControlMaster=no", "host"],
  [OPEN, "-oControlMaster=NO", "host"],
  [OPEN, "-o", "ControlMaster no", "host"],
  [OPEN, "-oControlPersist=60", "host"],
  [OPEN, "-o", 'SetEnv="A=it\'s  B"', "host"],
  [OPEN, "-o", "  User = a b", "-i", "a key's file", "host"],
  [OPEN, "-oProxyCommand=nc %h %p", "host"],
  // It may reach the shared master.
  [OPEN, "-O", "check", "host"],
  ...["M", "N", "G", "f"].map((letter) => [DIRECT, `-${letter}`, "host"] as const),
  [DIRECT, "-4tN", "host"],
  [DIRECT, "host", "-N"],
  [DIRECT, "host", "-p", "22", "-fN"],
  [DIRECT, "-w", "0:0", "host"],
  [DIRECT, "-Q", "cipher"],
  [DIRECT, "-V"],
  // A flag or a value, depending on ssh's version.
  [DIRECT, "-P", "tag", "host"],
  [DIRECT],
  [DIRECT, "-v"],
  [DIRECT, "--"],
  [DIRECT, "-o", "ControlPersist"],
  [DIRECT, "-p"],
  [DIRECT, "-z", "host"],
  [DIRECT, "--bogus", "host"],
  [DIRECT, "host", "-z"],
  [DIRECT, "host", "-p"],
  // ssh refuses these at once.
  [DIRECT, "-W", "nope", "host"],
  [DIRECT, "-W", "a:1", "-W", "b:1", "host"],
  [DIRECT, "-s", "host"],
  [RULED, "-S", "none", "host"],
  [RULED, "-Snone", "host"],
  [RULED, "-o", "ControlPath=none", "host"],
  [RULED, "-oControlPath=/a/b", "host"],
  [RULED, "-ocontrolpath /a/b", "host"],
  [RULED, "-o", "CONTROLPATH\t=\t/a", "host"],
  [RULED, "-o", ' ControlPath = "/a b"', "host"],
  [RULED, "-to", "ControlPath=/a", "host"],
  [RULED, "host", "-oControlPath=/a"],
  [RULED, "-o", "ControlMaster=auto", "host"],
  [RULED, "-o", "controlmaster yes", "host"],
  [RULED, "-oControlMaster", "host"],
  [RULED, "-oControlMaster=ask", "host"],
  [RULED, "-L", "1:h:2", "host"],
  [RULED, "-D1080", "host"],
  [RULED, "-tR", "0", "host"],
  [RULED, "host", "-L1:h:2"],
  // It costs a shared connection and nothing else.
  [RULED, "-oProxyCommand=ssh -oControlPath=none -W %h:%p jump", "host"],
];

testInShells(
  "words go direct if their work ends with the call, or names a master",
  async (shell) => {
    const script = `sshs_words "$@" &&
    { [ -z "$sshs_forwards" ] || [ -n "$sshs_settings$sshs_control" ]; } && echo open || echo direct`;
    for (const [verdict, ...args] of WORDS) {
      for (const file of ["", "yes"]) {
        const found = (await outputOf(shell, script, { args, settings: { settings: file } }))
          .trim();
        const expected = verdict === RULED ? (file ? OPEN : DIRECT) : verdict;
        assert.equal(found, expected, `${JSON.stringify(args)}, with a file: ${file || "no"}`);
      }
    }
  },
);

/** The words before the command, and the name of their plan; none where there can be no plan. */
const KEYS: readonly (readonly [key: string, ...words: string[]])[] = [
  ["host", "host"],
  ["host", "host", "ls", "-l"],
  ["user@host!-p!22", "user@host", "-p", "22", "ls"],
  ["host!-T!--", "host", "-T", "--", "ls"],
  ["-p!22!--!host", "-p", "22", "--", "host", "-T"],
  ["-i!^a^b^^c^!host", "-i", "/a/b//c/", "host"],
  ["-F!^a!-oA=b c!h-1.x_y", "-F", "/a", "-oA=b c", "h-1.x_y", "ls"],
  ["[::1]", "[::1]"],
  ["-o!a%h+~,.:=\"'$()!host", "-o", "a%h+~,.:=\"'$()", "host"],
  ["", "-l", "", "host"],
  ["", "h\u00e9"],
  ["", "a!b"],
  ["", "a^b"],
  ["", "a\nb"],
  ["", "-o", "a\tb", "host"],
  ["", "."],
  ["", ".."],
  ["...", "...", "ls"],
  ["x".repeat(200), "x".repeat(200)],
  [`${"x".repeat(200)}!/x`, "x".repeat(201)],
  ["host", "host", ..."x".repeat(300)],
];

testInShells("a plan's name keeps apart words that joining could mix up", async (shell) => {
  const script = 'sshs_words "$@" && sshs_name "$@"; printf %s "$sshs_key"';
  for (const [key, ...args] of KEYS) {
    for (const LC_ALL of ["C", "C.UTF-8"]) {
      const settings = { task: "", key: "", settings: "" };
      assert.equal(await outputOf(shell, script, { args, settings, env: { LC_ALL } }), key);
    }
  }
  // A command that may be too long for a master has none.
  const args = ["host", ...new Array(60).fill("x".repeat(1000))];
  assert.equal(await outputOf(shell, script, { args, settings: { task: "", settings: "" } }), "");
});

/** DIR has directories `ours`, `theirs` and `tmp`, a `file`, a `link`, and one that is `dangling`. */
const STATE_DIRS: readonly (readonly [env: Environment, path: string])[] = [
  [{ SSHS_DIR: "DIR/a" }, "DIR/a"],
  [{ SSHS_DIR: "DIR/a//" }, "DIR/a"],
  [{ SSHS_DIR: "DIR/a b", XDG_RUNTIME_DIR: "DIR/ours" }, "DIR/a b"],
  [{ XDG_RUNTIME_DIR: "DIR/ours", TMPDIR: "DIR/tmp" }, "DIR/ours/sshs"],
  [{ SSHS_DIR: "", XDG_RUNTIME_DIR: "DIR/ours" }, "DIR/ours/sshs"],
  [{ XDG_RUNTIME_DIR: "DIR/none", TMPDIR: "DIR/tmp" }, "DIR/tmp/sshs-UID"],
  [{ XDG_RUNTIME_DIR: "DIR/file", TMPDIR: "DIR/tmp" }, "DIR/tmp/sshs-UID"],
  [{ XDG_RUNTIME_DIR: "DIR/theirs", TMPDIR: "DIR/tmp" }, "DIR/tmp/sshs-UID"],
  [{ XDG_RUNTIME_DIR: "", TMPDIR: "DIR/tmp///" }, "DIR/tmp/sshs-UID"],
  // ssh expands these in the path of a socket.
  [{ SSHS_DIR: "DIR/a%h" }, ""],
  [{ SSHS_DIR: "DIR/${HOME}" }, ""],
  [{ XDG_RUNTIME_DIR: "DIR/run%h", TMPDIR: "DIR/tmp" }, "DIR/tmp/sshs-UID"],
  [{ SSHS_DIR: "ours" }, ""],
  [{ SSHS_DIR: "DIR/none/s" }, ""],
  [{ SSHS_DIR: "DIR/theirs/s" }, ""],
  [{ SSHS_DIR: "DIR/file" }, ""],
  [{ SSHS_DIR: "DIR/link" }, ""],
  [{ SSHS_DIR: "DIR/link/" }, ""],
  [{ SSHS_DIR: "DIR/dangling" }, ""],
  // A job's is not made again.
  [{ SSHS_DIR: "DIR/sshs-job-1" }, ""],
];

/** TMPDIR, and where the state directory would be made: too long a path leaves no room for a socket. */
const TMPDIRS: readonly (readonly [tmpdir: string, path: string])[] = [
  ["", "/tmp/sshs-UID"],
  ["/dev/shm", "/tmp/sshs-UID"],
  ["relative", "/tmp/sshs-UID"],
  ["/a%h", "/tmp/sshs-UID"],
  [`/${"x".repeat(43)}`, "/tmp/sshs-UID"],
];

testInShells(
  "the state directory is ours alone, and found or made where it may be",
  async (shell, dir) => {
    for (const name of ["ours", "theirs", "tmp", "run%h"]) await Deno.mkdir(`${dir}/${name}`);
    await Deno.writeTextFile(`${dir}/file`, "");
    await Deno.symlink(`${dir}/ours`, `${dir}/link`);
    await Deno.symlink(`${dir}/none`, `${dir}/dangling`);
    if (canMakeAccounts) await Deno.chown(`${dir}/theirs`, 54321, 54321);
    for (const [words, expected] of STATE_DIRS) {
      if (
        Object.values(words).some((word) => word.includes("theirs")) && !canMakeAccounts
      ) continue;
      const entries = Object.entries(words).map(([k, v]) => [k, v.replace("DIR", dir)]);
      const path = expected.replace("DIR", dir).replace("UID", `${Deno.uid()}`);
      const script = 'umask 0; sshs_state || :; printf %s "$sshs_dir"';
      const found = await outputOf(shell, script, { env: Object.fromEntries(entries) });
      assert.equal(found, path, JSON.stringify(words));
      if (path === "") continue;
      assert.equal(Deno.lstatSync(path).mode! & 0o777, 0o700);
      await Deno.remove(path, { recursive: true });
    }
    assert.deepEqual([...Deno.readDirSync(`${dir}/theirs`)], []);
    assert.equal(isThere(`${dir}/sshs-job-1`), false);
    for (const [TMPDIR, expected] of TMPDIRS) {
      const script = 'mkdir() { :; }; sshs_dir=""; sshs_temporary; printf %s "$sshs_dir"';
      const found = await outputOf(shell, script, { env: { TMPDIR } });
      assert.equal(found, expected.replace("UID", `${Deno.uid()}`), TMPDIR);
    }
  },
);

const LAUNCHER = `#!/bin/sh\n${LAUNCHER_MARK}\nexit 1\n`;
const SCRIPT = '#!/bin/sh\nexec ssh "$@"\n';
const BINARY = "\x7fELF";

const PROGRAMS: readonly (readonly [dir: string, text: string, mode?: number])[] = [
  ["real", BINARY],
  ["other", BINARY],
  ["one", SCRIPT],
  ["two", SCRIPT],
  ["ours", LAUNCHER],
  ["copy", LAUNCHER],
  ["data", BINARY, 0o644],
];

/** PATH (directories separated by blanks), SSHS_SSH, SSHS_INSIDE, and the directory whose ssh is found. */
const REAL: readonly (readonly [path: string, chosen: string, inside: string, found: string])[] = [
  ["real other", "", "", "real"],
  ["ours link copy real", "", "", "real"],
  ["one real", "", "", "one"],
  ["data folder nowhere /dev/null real", "", "", "real"],
  ["ours link data", "", "", ""],
  ["real", "other", "", "other"],
  ["real", "copy", "", "real"],
  ["real", "data", "", "real"],
  ["real", "nowhere", "", "real"],
  ["real", "./ssh", "", "real"],
  ["real", "ssh", "", "real"],
  // Scripts that an outer call became, and that called us again.
  ["two real", "one", "one", "two"],
  ["two real", "one", "one two", "real"],
  ["two real", "one", "two one", "real"],
  ["two real", "one", "one two real", "real"],
  ["two real", "one", "onex two", "one"],
  // A binary that looks for the next ssh in PATH would find us forever.
  ["real other", "", new Array(14).fill("real").join(" "), "real"],
  ["real other", "", new Array(15).fill("real").join(" "), "other"],
];

testInShells(
  "the real ssh is the one chosen, or the first in PATH that is none of ours",
  async (shell, dir) => {
    for (const [name, text, mode = 0o755] of PROGRAMS) {
      await Deno.mkdir(`${dir}/${name}`);
      await Deno.writeTextFile(`${dir}/${name}/ssh`, text);
      await Deno.chmod(`${dir}/${name}/ssh`, mode);
    }
    await Deno.symlink(`${dir}/ours`, `${dir}/link`);
    await Deno.mkdir(`${dir}/folder/ssh`, { recursive: true });
    const programs = (names: string) =>
      names.split(" ").filter(Boolean)
        .map((name) => name.includes("ssh") ? name : `${dir}/${name}/ssh`).join(":");
    const script = 'sshs_find ssh && printf %s "$sshs_found"';
    for (const [path, chosen, inside, found] of REAL) {
      const dirs = path.split(" ").map((name) => name.startsWith("/") ? name : `${dir}/${name}`);
      const env = {
        PATH: ["relative", "", ".", ...dirs].join(":"),
        SSHS_SSH: programs(chosen),
        SSHS_INSIDE: programs(inside),
      };
      const expected = found && `${dir}/${found}/ssh`;
      assert.equal(
        await outputOf(shell, script, { env }),
        expected,
        `${path}, ${chosen}, ${inside}`,
      );
    }
    assert.match(await outputOf(shell, `unset PATH; ${script}`), /^\/usr\/(local\/)?bin\/ssh$/);
  },
);

testInShells(
  "the system's ssh is looked into only if it is newer than the launcher",
  async (shell, dir) => {
    for (const [name, text] of [["system", LAUNCHER], ["real", BINARY]]) {
      await Deno.mkdir(`${dir}/${name}`);
      await Deno.writeTextFile(`${dir}/${name}/ssh`, text, { mode: 0o755 });
    }
    await Deno.writeTextFile(`${dir}/launcher.sh`, "");
    const PATH = `${dir}/system:${dir}/real`;
    const find = async (age: number, SSHS_INSIDE = "") => {
      const made = new Date(Date.now() - age);
      await Deno.utime(`${dir}/system/ssh`, made, made);
      const output = await outputOf(shell, 'sshs_find ssh; printf %s "$sshs_found"', {
        env: { PATH, SSHS_INSIDE },
        settings: { lib: dir },
        replace: [["/usr/bin/ssh '", `${dir}/system/ssh '`]],
      });
      return output.slice(dir.length);
    };
    assert.equal(await find(60_000), "/system/ssh");
    assert.equal(await find(-60_000), "/real/ssh", "it was replaced by a launcher");
    assert.equal(await find(60_000, "/another/ssh"), "/real/ssh", "it may call us back");
  },
);

const USER = "0::/user.slice/user-1000.slice";
const CRON = "/system.slice/cron.service";

/** The text of /proc/self/cgroup, and the job that it names. */
const CGROUPS: readonly (readonly [text: string, job: string])[] = [
  ["", ""],
  ["0::/\n", ""],
  [`${USER}\n`, ""],
  [`${USER}/session-2.scope\n`, ""],
  [`${USER}/user@1000.service\n`, ""],
  [`${USER}/user@1000.service/init.scope\n`, ""],
  [`${USER}/user@1000.service/app.slice/app-x@1.service\n`, ""],
  [`${USER}/user@1000.service/app.slice/app-x-1.scope\n`, ""],
  [`${USER}/user@1000.service/app.slice/vte-spawn-1.scope\n`, ""],
  [`${USER}/user@1000.service/tmux-spawn-1.scope\n`, ""],
  [`0::${CRON}\n`, CRON],
  ["0::/system.slice/a b\\x2dc.service\n", "/system.slice/a b\\x2dc.service"],
  ["0::/system.slice/docker-0123.scope\n", "/system.slice/docker-0123.scope"],
  ["0::/slurm/uid_0/job_5/step_0\n", "/slurm/uid_0/job_5/step_0"],
  // Version 1, and a hybrid of both.
  ["12:cpu:/x\n4:freezer:/docker/0123\n", "/docker/0123"],
  [`12:cpu:/\n1:name=systemd:${CRON}\n0::${CRON}\n`, CRON],
];

testInShells(
  "a call belongs to the job that ends it: its control group, or a CI's cookie",
  async (shell, dir) => {
    const replace = [["/proc/self/cgroup", `${dir}/cgroup`]] as const;
    const script = 'sshs_belongs; printf %s "$sshs_job"';
    for (const [text, job] of CGROUPS) {
      await Deno.writeTextFile(`${dir}/cgroup`, text);
      assert.equal(await outputOf(shell, script, { replace }), job, text);
      const env = { JENKINS_NODE_COOKIE: "build-7" };
      assert.equal(await outputOf(shell, script, { replace, env }), `${job}build-7`, text);
    }
  },
);

testInShells(
  "the process groups and the priority are the same from /proc and from ps",
  async (shell) => {
    const script = 'sshs_stat; echo "$(($$ == sshs_group)) $sshs_foreground $sshs_nice"';
    const nice = ["nice", "-n", "7", "setsid", ...shell];
    assert.equal(await outputOf(nice, script), "1 -1 7\n");
    // In a static busybox ps is its own, which no system without /proc has.
    if (shell[0].endsWith("busybox")) return;
    const replace = [["/proc/$$/stat", "/nowhere"]] as const;
    assert.equal(await outputOf(nice, script, { replace }), "1 -1 7\n");
  },
);

testInShells(
  "a process is told from a dead one, a zombie, and another with its pid",
  async (shell) => {
    const script = `sleep 60 & live=$!; sshs_read_birth "$live"
    is() { sshs_is_alive "$@" && echo alive || echo dead; }
    is "$live" "$sshs_born"; is "$live" ""; is "$live" 1; is ${await deadPid()} ""; is 1 ""; is "" ""
    kill "$live"; until [ "$(is "$live" "$sshs_born")" = dead ]; do sleep 0.02; done`;
    assert.equal(await outputOf(shell, script), "alive\nalive\ndead\ndead\ndead\ndead\n");
  },
);

testInShells("a sleeper of this version or a later one stays", async (shell) => {
  const script = 'for version; do sshs_is_later "$version" && echo yes || echo no; done';
  const args = ["0.9.0", "0.10.1", "0.11.0", "1.0.0", "0.10.0", "", "x"];
  const output = await outputOf(shell, script, { args, settings: { version: "0.10.0" } });
  assert.deepEqual(output.trim().split("\n"), ["no", "yes", "yes", "yes", "no", "no", "no"]);
});
