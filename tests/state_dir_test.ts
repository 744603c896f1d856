import assert from "node:assert/strict";
import { allStateDirs, openStateDir } from "../lib/lane/state_dir.ts";
import { canMakeAccounts } from "./support/account.ts";
import { canMount } from "./support/mounts.ts";
import { needProgram, run } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";

/** The uid of another user. */
const STRANGER = 54321;

function systemWith(env: Record<string, string>, uid = Deno.uid()) {
  return { env: (name: string) => env[name], uid: () => uid };
}

Deno.test("allStateDirs returns those of calls with other variables too, our own first", async () => {
  const dir = await Deno.makeTempDir();
  // What this user has in the usual places is always returned too.
  const found = (env: Record<string, string>) =>
    allStateDirs({ stateDir: `${dir}/run/sshs` }, systemWith(env))
      .filter((path) => path.startsWith(dir));
  try {
    const env = { XDG_RUNTIME_DIR: `${dir}/run`, TMPDIR: `${dir}/tmp` };
    for (const name of ["run", "tmp"]) await Deno.mkdir(`${dir}/${name}`, { mode: 0o700 });
    assert.deepEqual(found(env), [], "none is made");
    const below = `${dir}/tmp/sshs-${Deno.uid()}`;
    assert.equal(openStateDir({ stateDir: below }, systemWith({})), below);
    assert.deepEqual(found(env), [below]);
    openStateDir({ stateDir: `${dir}/run/sshs` }, systemWith(env));
    assert.deepEqual(found(env), [`${dir}/run/sshs`, below]);
    const chosen = systemWith({ ...env, SSHS_DIR: below });
    assert.deepEqual(allStateDirs({ stateDir: below }, chosen), [below]);
    await Deno.chmod(below, 0o755);
    assert.deepEqual(found(env), [`${dir}/run/sshs`], "one that others can use is passed over");
    await Deno.chmod(`${dir}/run/sshs`, 0o755);
    assert.throws(() => found(env), /can be used by others/);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("openStateDir makes a directory for the user alone, and accepts it again", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const open = () => openStateDir({ stateDir: `${dir}/s` }, systemWith({}));
    assert.equal(open(), `${dir}/s`);
    assert.equal((await Deno.lstat(`${dir}/s`)).mode! & 0o777, 0o700);
    assert.equal(open(), `${dir}/s`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("openStateDir accepts the longest path that leaves room for a socket, and no longer one", async () => {
  const dir = await Deno.makeTempDir({ prefix: "s-" });
  try {
    const longest = `${dir}/`.padEnd(59, "x");
    assert.equal(openStateDir({ stateDir: longest }, systemWith({})), longest);
    // In bytes: an umlaut has two.
    for (const path of [`${longest}x`, `${dir}/`.padEnd(58, "x") + "\u00e4"]) {
      const open = () => openStateDir({ stateDir: path }, systemWith({}));
      assert.throws(open, /longer than the 59 bytes/);
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

/** What may be in place of the state directory, or keep it from being made. */
interface Hostile {
  name: string;
  /** Puts it at `path`; may resolve to another path to use. */
  put(path: string): Promise<void | string>;
  said: RegExp;
  needsRoot?: boolean;
  /** Undoes what removing the sandbox would not. */
  undo?(path: string): Promise<unknown>;
}

const HOSTILE: readonly Hostile[] = [
  {
    name: "made by another user",
    async put(path) {
      await Deno.mkdir(path, { mode: 0o700 });
      await Deno.chown(path, STRANGER, null);
    },
    said: /belongs to user 54321/,
    needsRoot: true,
  },
  {
    name: "in another user's directory",
    async put(path) {
      await Deno.mkdir(path, { mode: 0o700 });
      await Deno.chown(path, STRANGER, null);
      return `${path}/s`;
    },
    said: /stands in .* belongs to user 54321/,
    needsRoot: true,
  },
  {
    name: "writable by its group",
    put: (path) => Deno.mkdir(path).then(() => Deno.chmod(path, 0o770)),
    said: /can be used by others\nsshs: hint: chmod 700 /,
  },
  {
    name: "readable by all",
    put: (path) => Deno.mkdir(path).then(() => Deno.chmod(path, 0o755)),
    said: /can be used by others/,
  },
  {
    name: "in a directory that all can write to",
    async put(path) {
      await Deno.mkdir(path);
      await Deno.chmod(path, 0o777);
      return `${path}/s`;
    },
    said: /stands in .* others can write/,
  },
  {
    name: "a link to a good directory",
    async put(path) {
      await Deno.mkdir(`${path}-real`, { mode: 0o700 });
      await Deno.symlink(`${path}-real`, path);
    },
    said: /is a symbolic link/,
  },
  {
    name: "a link to nothing",
    put: (path) => Deno.symlink(`${path}-none`, path),
    said: /is a symbolic link/,
  },
  {
    name: "a file",
    put: (path) => Deno.writeTextFile(path, ""),
    said: /is not a directory/,
  },
  {
    name: "below a file",
    put: (path) => Deno.writeTextFile(path, "").then(() => `${path}/s`),
    said: /cannot be (made|read)/,
  },
  {
    name: "below a missing directory",
    put: (path) => Promise.resolve(`${path}/no/s`),
    said: /cannot be (made|read)/,
  },
  {
    name: "at too long a path",
    put: (path) => Promise.resolve(path.padEnd(61, "x")),
    said: /is longer than the 59 bytes that leave room for a socket/,
  },
  {
    name: "relative",
    put: () => Promise.resolve("s"),
    said: /is not an absolute path/,
  },
  {
    name: "read-only",
    async put(path) {
      await Deno.mkdir(path, { mode: 0o700 });
      await run("mount", ["-t", "tmpfs", "-o", "ro,mode=700", "sshs-test", path]);
    },
    said: /Read-only file system/i,
    needsRoot: true,
    undo: (path) => run("umount", [path]),
  },
  {
    name: "full",
    async put(path) {
      await Deno.mkdir(path, { mode: 0o700 });
      await run("mount", ["-t", "tmpfs", "-o", "nr_inodes=1,mode=700", "sshs-test", path]);
    },
    said: /No space left on device/i,
    needsRoot: true,
    undo: (path) => run("umount", [path]),
  },
];

const QUIET = ["-q", "-oBatchMode=yes", "-oLogLevel=QUIET"];

for (const [row, { name, put, said, needsRoot, undo }] of HOSTILE.entries()) {
  Deno.test({
    name: `a state directory that is ${name} leads to plain ssh, an error and a hint`,
    ignore: (needsRoot && !canMakeAccounts) || (undo !== undefined && !canMount),
    fn: async () => {
      await using sandbox = await Sandbox.create();
      const real = needProgram("ssh");
      await sandbox.fakeSsh(`case "$1" in -G) exec ${real} "$@" ;; esac; echo plain; exit 3`);
      const path = `${sandbox.dir}/d`;
      const chosen = await put(path) ?? path;
      try {
        const call = ["-F", "none", "host", "a  command", ""];
        const env = { SSHS_DIR: chosen };
        const { code, stdout, stderr } = await sandbox.sshs(call, { env });
        assert.deepEqual([code, stdout], [3, "plain\n"]);
        assert.match(stderr, /^sshs: not shared: [^\n]+\nsshs: hint: [^\n]+\n$/);
        assert.match(stderr, said);
        assert.deepEqual(sandbox.recorded().at(-1), call);
        const silent = await sandbox.sshs([QUIET[row % QUIET.length], ...call], { env });
        assert.deepEqual([silent.code, silent.stderr], [3, ""]);
      } finally {
        await undo?.(path);
      }
      assert.deepEqual(sandbox.processes(), []);
    },
  });
}
