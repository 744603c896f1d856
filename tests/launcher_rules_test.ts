/** Where the state directory is and which ssh is the real one: the program and the launcher agree. */
import assert from "node:assert/strict";
import { stateDirPath } from "../lib/lane/state_dir.ts";
import { findRealSsh, LAUNCHER_MARK } from "../lib/ssh/real_ssh.ts";
import { canMakeAccounts } from "./support/account.ts";
import { outputOf, testInShells } from "./support/launcher_functions.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** DIR is made for each test: `ours` and `another's` in it are directories, `file` is not. */
const STATE_DIRS: readonly [env: Environment, path: string, uid?: number][] = [
  [{ SSHS_DIR: "/a/b" }, "/a/b"],
  [{ SSHS_DIR: "/a/b//" }, "/a/b"],
  [{ SSHS_DIR: "/" }, "/"],
  [{ SSHS_DIR: "//" }, "/"],
  [{ SSHS_DIR: "relative/" }, "relative"],
  [{ SSHS_DIR: "/a b", XDG_RUNTIME_DIR: "DIR/ours" }, "/a b"],
  [{ XDG_RUNTIME_DIR: "DIR/ours", TMPDIR: "/var/tmp" }, "DIR/ours/sshs"],
  [{ SSHS_DIR: "", XDG_RUNTIME_DIR: "DIR/ours" }, "DIR/ours/sshs"],
  [{ XDG_RUNTIME_DIR: "DIR/none", TMPDIR: "/var/tmp" }, "/var/tmp/sshs-UID"],
  [{ XDG_RUNTIME_DIR: "DIR/file", TMPDIR: "/var/tmp" }, "/var/tmp/sshs-UID"],
  [{ XDG_RUNTIME_DIR: "DIR/another's", TMPDIR: "/var/tmp" }, "/var/tmp/sshs-UID"],
  [{ XDG_RUNTIME_DIR: "", TMPDIR: "/var/tmp///" }, "/var/tmp/sshs-UID"],
  [{ TMPDIR: "/" }, "/sshs-UID"],
  [{ TMPDIR: "" }, "/tmp/sshs-UID"],
  [{}, "/tmp/sshs-UID"],
  [{ TMPDIR: "/dev/shm" }, "/tmp/sshs-UID"],
  [{ TMPDIR: "/devices" }, "/devices/sshs-UID"],
  [{ TMPDIR: "relative" }, "relative/sshs-UID"],
  // The TMPDIR of macOS leaves room for a uid of three digits, but not of nine.
  [{ TMPDIR: "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/" }, "TMPDIR/sshs-501", 501],
  [
    { TMPDIR: "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T/" },
    "/tmp/sshs-123456789",
    123456789,
  ],
  [{ TMPDIR: `/${"x".repeat(50)}` }, `/${"x".repeat(50)}/sshs-12`, 12],
  [{ TMPDIR: `/${"x".repeat(50)}` }, "/tmp/sshs-123", 123],
  [{}, "/tmp/sshs-100001", 100_001],
];

testInShells("the state directory is where stateDirPath says", async (shell) => {
  const dir = await Deno.makeTempDir();
  try {
    for (const name of ["ours", "another's"]) await Deno.mkdir(`${dir}/${name}`);
    await Deno.writeTextFile(`${dir}/file`, "");
    if (canMakeAccounts) await Deno.chown(`${dir}/another's`, 54321, 54321);
    for (const [words, expected, uid = Deno.uid()!] of STATE_DIRS) {
      if (words.XDG_RUNTIME_DIR?.endsWith("another's") && !canMakeAccounts) continue;
      const entries = Object.entries(words).map(([k, v]) => [k, v?.replace("DIR/", `${dir}/`)]);
      const env: Environment = Object.fromEntries(entries);
      const path = expected.replace("TMPDIR", env.TMPDIR?.replace(/\/$/, "") ?? "")
        .replace(/^DIR/, dir).replace("UID", `${uid}`);
      // The shell itself tests the owner of a runtime directory, so these rows use the real uid.
      assert.equal(stateDirPath({ env: (name) => env[name], uid: () => uid }), path);
      const script = 'mkdir() { :; }; sshs_state || :; printf %s "$sshs_dir"';
      assert.equal(await outputOf(shell, script, { env, settings: { uid } }), path);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells(
  "the launcher makes no state directory in another user's directory, or over a file or link",
  async (shell) => {
    const dir = await Deno.makeTempDir();
    const parents = { ours: true, "another's": false };
    try {
      for (const [parent, isMade] of Object.entries(parents)) {
        if (parent === "another's" && !canMakeAccounts) continue;
        await Deno.mkdir(`${dir}/${parent}`);
        if (!isMade) await Deno.chown(`${dir}/${parent}`, 54321, 54321);
        const SSHS_DIR = `${dir}/${parent}/s`;
        const script = "umask 0; sshs_state && echo yes";
        const output = await outputOf(shell, script, { env: { SSHS_DIR } });
        assert.equal(output, isMade ? "yes\n" : "");
        const names = [...Deno.readDirSync(`${dir}/${parent}`)].map(({ name }) => name);
        assert.deepEqual(names, isMade ? ["s"] : []);
        if (isMade) assert.equal(Deno.statSync(SSHS_DIR).mode! & 0o777, 0o700);
      }
      for (const name of ["file", "link", "dangling"]) {
        const SSHS_DIR = `${dir}/${name}`;
        if (name === "file") await Deno.writeTextFile(SSHS_DIR, "");
        else await Deno.symlink(name === "link" ? `${dir}/ours/s` : `${dir}/none`, SSHS_DIR);
        const output = await outputOf(shell, "sshs_state || echo no", { env: { SSHS_DIR } });
        assert.equal(output, "no\n", name);
      }
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

const LAUNCHER = `#!/bin/sh\n${LAUNCHER_MARK} 0.1.0\nexit 1\n`;
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

testInShells("the real ssh is the one that findRealSsh returns", async (shell) => {
  const dir = await Deno.makeTempDir();
  try {
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
    for (const [path, chosen, inside, found] of REAL) {
      const dirs = path.split(" ").map((name) => name.startsWith("/") ? name : `${dir}/${name}`);
      const env: Environment = {
        PATH: ["relative", "", ".", ...dirs].join(":"),
        SSHS_SSH: programs(chosen),
        SSHS_INSIDE: programs(inside),
      };
      const expected = found && `${dir}/${found}/ssh`;
      const row = [path, chosen, inside].join(", ");
      assert.equal(findRealSsh({ env: (name) => env[name] }) ?? "", expected, row);
      const script = 'sshs_find ssh && printf %s "$sshs_found"';
      assert.equal(await outputOf(shell, script, { env }), expected, row);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells(
  "the system's ssh is looked into only if it is newer than the launcher",
  async (shell) => {
    const dir = await Deno.makeTempDir();
    try {
      for (const [name, text] of [["system", LAUNCHER], ["real", BINARY], ["ours", LAUNCHER]]) {
        await Deno.mkdir(`${dir}/${name}`);
        await Deno.writeTextFile(`${dir}/${name}/ssh`, text, { mode: 0o755 });
      }
      const PATH = `${dir}/system:${dir}/real`;
      const find = async (age: number, SSHS_INSIDE = "") => {
        const made = new Date(Date.now() - age);
        await Deno.utime(`${dir}/system/ssh`, made, made);
        const output = await outputOf(shell, 'sshs_find ssh; printf %s "$sshs_found"', {
          env: { PATH, SSHS_INSIDE },
          settings: { bin: `${dir}/ours` },
          replace: [["/usr/bin/ssh ", `${dir}/system/ssh `]],
        });
        return output.slice(dir.length);
      };
      assert.equal(await find(60_000), "/system/ssh");
      assert.equal(await find(-60_000), "/real/ssh", "it was replaced by a launcher");
      assert.equal(await find(60_000, "/another/ssh"), "/real/ssh", "it may call us back");
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

testInShells("without PATH the real ssh is the system's", async (shell) => {
  const found = findRealSsh({ env: () => undefined });
  const script = 'unset PATH; sshs_find ssh; printf %s "$sshs_found"';
  assert.equal(await outputOf(shell, script), found);
});

testInShells(
  "the process groups and the priority are the same from /proc and from ps",
  async (shell) => {
    const script = 'sshs_stat; echo "$(($$ == sshs_group)) $sshs_foreground $sshs_nice"';
    const asOnBsd = { replace: [["/proc/$$/stat", "/nowhere"]] as const };
    const nice = ["nice", "-n", "7", "setsid", ...shell];
    for (const options of [{}, asOnBsd]) {
      assert.equal(
        await outputOf(nice, script, options),
        "1 -1 7\n",
      );
    }
  },
);
