import { fromFileUrl } from "@std/path/posix/from-file-url";
import assert from "node:assert/strict";
import { programCommand } from "../lib/os/program.ts";
import { exists } from "./support/exists.ts";
import { install } from "./support/installed.ts";
import { findProgram, run as output } from "./support/programs.ts";
import { Pty } from "./support/pty.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Sshd } from "./support/sshd.ts";

const DEADLINE = { deadline: 20_000 };

const REPOSITORY = fromFileUrl(new URL("..", import.meta.url));
const INSTALLER = `${REPOSITORY}install.sh`;

/** Somebody's home, in which nothing is installed yet. */
class Home implements Disposable {
  readonly path: string = Deno.makeTempDirSync({ prefix: "home of " });
  readonly prefix: string = `${this.path}/a prefix`;

  /** Runs a program with this home, and a state directory in it. */
  async run(program: string, args: string[], { input, env = {} }: {
    input?: string;
    env?: Record<string, string>;
  } = {}): Promise<{ code: number; stdout: string; stderr: string }> {
    const child = new Deno.Command(program, {
      args,
      cwd: this.path,
      env: {
        DENO_DIR: cacheDir,
        HOME: this.path,
        SSHS_DIR: `${this.path}/state`,
        SHELL: "/bin/sh",
        ...env,
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    // A shell that has met an error reads no further.
    await writer.write(new TextEncoder().encode(input ?? "")).catch(() => {});
    await writer.close().catch(() => {});
    const { code, stdout, stderr } = await child.output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout), stderr: text(stderr) };
  }

  /** Runs install.sh from the checkout; fails unless it ends well. */
  async install(...args: string[]): Promise<string> {
    const result = await this.run("sh", [INSTALLER, "--prefix", this.prefix, ...args]);
    assert.deepEqual({ code: result.code, stderr: result.stderr }, { code: 0, stderr: "" });
    return result.stdout;
  }

  /** Every file and directory under the prefix, and what is in the files. */
  contents(directory = this.prefix): Record<string, string> {
    const found: Record<string, string> = {};
    for (const { name, isDirectory } of Deno.readDirSync(directory)) {
      const path = `${directory}/${name}`;
      if (isDirectory) Object.assign(found, { [`${path}/`]: "" }, this.contents(path));
      else found[path] = Deno.readTextFileSync(path);
    }
    return found;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Deno's cache, where the packages that bundling takes are already. */
const cacheDir: string = JSON.parse(
  new TextDecoder().decode(
    new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).outputSync().stdout,
  ),
).denoDir;

/** Serves the checkout as a raw file server would; `spoil` may answer in its place. */
function serve(spoil: (path: string) => Response | undefined = () => undefined) {
  const served = new Set<string>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const path = new URL(request.url).pathname.slice(1);
    const spoilt = spoil(path);
    if (spoilt) return spoilt;
    try {
      const text = Deno.readTextFileSync(`${REPOSITORY}${path}`);
      served.add(path);
      // What a server makes of .ts where /etc/mime.types is Debian's: no module, by Deno's lights.
      const type = path.endsWith(".ts") ? "text/vnd.trolltech.linguist" : "text/plain";
      return new Response(text, { headers: { "content-type": type } });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return new Response("no such file", { status: 404 });
    }
  });
  const { port } = server.addr;
  return {
    base: `http://127.0.0.1:${port}`,
    served,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

Deno.test("install.sh installs the same twice, and --uninstall leaves nothing of it", async () => {
  using home = new Home();
  const said = await home.install();
  assert.match(said, /export PATH="[^"]*a prefix\/bin:\$PATH"/);
  const first = home.contents();
  for (const name of ["bin/sshs", "bin/ssh", "bin/scp", "bin/sftp", "lib/sshs/sshs.js"]) {
    assert.ok(first[`${home.prefix}/${name}`], name);
  }
  await home.install();
  assert.deepEqual(home.contents(), first);

  const version = await home.run(`${home.prefix}/bin/sshs`, ["--version"]);
  assert.match(version.stdout, /^sshs \d+\.\d+\.\d+, /);
  const ssh = await home.run(`${home.prefix}/bin/ssh`, ["-G", "-p", "77", "somewhere"]);
  assert.match(ssh.stdout, /^port 77$/m);

  const flags = /^sshs_flags='(.*)'$/m.exec(first[`${home.prefix}/bin/ssh`])?.[1].split(" ");
  const expected = programCommand().filter((word) => word.startsWith("--"));
  assert.deepEqual(new Set(flags), new Set([...expected, "--no-remote"]));

  const gone = await home.run("sh", [INSTALLER, "--uninstall", "--prefix", home.prefix]);
  assert.equal(gone.code, 0, gone.stderr);
  assert.equal(exists(home.prefix), false);
});

Deno.test("install.sh --uninstall keeps what others have put beside it", async () => {
  using home = new Home();
  Deno.mkdirSync(`${home.prefix}/bin`, { recursive: true });
  Deno.writeTextFileSync(`${home.prefix}/bin/other`, "theirs");
  await home.install();
  Deno.writeTextFileSync(`${home.prefix}/share/man.txt`, "theirs");
  // A launcher that was replaced is not ours any more.
  Deno.writeTextFileSync(`${home.prefix}/bin/scp`, "#!/bin/sh\n# theirs\n");
  await home.install("--uninstall");
  assert.deepEqual(
    Object.keys(home.contents()).map((path) => path.slice(home.prefix.length)).sort(),
    ["/bin/", "/bin/other", "/bin/scp", "/share/", "/share/man.txt"],
  );
});

Deno.test("install.sh --uninstall ends master and sleeper, and leaves no state", async () => {
  await using sshd = await Sshd.start({ client: { config: ["LogLevel ERROR"] } });
  await using sandbox = await Sandbox.create();
  await install(sandbox);
  const call = await sandbox.run(["ssh", "-F", sshd.config, "host", "exit 7"]);
  assert.deepEqual([call.code, call.stderr], [7, ""]);
  assert.deepEqual([sandbox.masters().length, sandbox.sleepers().length], [1, 1]);
  // At once: the sleeper has not begun yet, and its program is about to go.
  const prefix = `${sandbox.dir}/prefix`;
  const gone = await sandbox.run(["sh", INSTALLER, "--uninstall", "--prefix", prefix]);
  assert.deepEqual([gone.code, gone.stderr], [0, ""]);
  assert.equal(exists(prefix), false);
  await sandbox.assertClean({ deadline: 30_000 });
});

Deno.test("install.sh overwrites no program that is not its own", async () => {
  for (const name of ["ssh", "sftp", "sshs"]) {
    using home = new Home();
    Deno.mkdirSync(`${home.prefix}/bin`, { recursive: true });
    Deno.writeTextFileSync(`${home.prefix}/bin/${name}`, "#!/bin/sh\necho real\n");
    const before = home.contents();
    const result = await home.run("sh", [INSTALLER, "--prefix", home.prefix]);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /choose another --prefix\n$/);
    assert.deepEqual(home.contents(), before);
  }
});

Deno.test({
  name: "install.sh from a pipe installs the same as from a checkout",
  ignore: !findProgram("curl"),
  fn: async () => {
    using home = new Home();
    await using server = serve();
    await home.install();
    const expected = home.contents();
    await home.install("--uninstall");
    const result = await home.run("sh", [
      "-c",
      `curl -fsSL "$SSHS_BASE/install.sh" | sh -s -- --prefix "$1"`,
      "sh",
      home.prefix,
    ], { env: { SSHS_BASE: server.base } });
    assert.equal(result.code, 0, result.stderr);
    // The bundle names the packages that are in it by paths relative to its source.
    const normal = (contents: Record<string, string>) =>
      Object.entries(contents).map(([path, text]) => [path, text.replace(/(\.\.\/)+/g, "../")]);
    assert.deepEqual(normal(home.contents()), normal(expected));
    // What it fetched is what the repository has, with nothing left out of either.
    const files = (await output("git", ["-C", REPOSITORY, "ls-files", "-co", "--exclude-standard"]))
      .split("\n");
    for (const path of server.served) assert.ok(files.includes(path), path);
    for (const path of files.filter((path) => /^(lib\/|main)/.test(path))) {
      assert.ok(server.served.has(path), path);
    }
  },
});

Deno.test({
  name: "install.sh from a pipe leaves nothing when a file is missing or cut",
  ignore: !findProgram("curl"),
  fn: async () => {
    const cut = (path: string) =>
      new Response(Deno.readTextFileSync(REPOSITORY + path).slice(0, 2500));
    const missing = () => new Response("", { status: 404 });
    for (
      const [path, answer] of [["lib/launcher/launcher.sh", cut], [
        "lib/ssh_args.ts",
        missing,
      ]] as const
    ) {
      using home = new Home();
      await using server = serve((asked) => asked === path ? answer(path) : undefined);
      const input = Deno.readTextFileSync(INSTALLER);
      const result = await home.run("sh", ["-s", "--", "--prefix", home.prefix], {
        input,
        env: { SSHS_BASE: server.base, TMPDIR: home.path },
      });
      assert.equal(result.code, 1, result.stdout);
      assert.match(result.stderr, /install\.sh: (Cannot fetch|The launcher)/);
      assert.deepEqual(home.contents(home.path), {});
    }
  },
});

Deno.test("install.sh cut anywhere does nothing", async () => {
  const text = Deno.readTextFileSync(INSTALLER);
  const end = text.trimEnd().length;
  const cuts = Array.from({ length: 24 }, (_, n) => end - 1 - n);
  for (let n = 1; n < 30; n++) cuts.push(Math.floor(end * n / 30));
  for (const cut of cuts) {
    using home = new Home();
    const result = await home.run("sh", [], {
      input: text.slice(0, cut),
      env: { SSHS_BASE: "http://127.0.0.1:1", TMPDIR: home.path },
    });
    assert.equal(result.stdout, "", `cut at ${cut}`);
    assert.doesNotMatch(result.stderr, /install\.sh:/, `cut at ${cut}`);
    assert.deepEqual(home.contents(home.path), {}, `cut at ${cut}`);
  }
});

/** Puts links to programs into a directory that is all of a PATH, and scripts beside them. */
function fillBin(bin: string, programs: string, scripts: Record<string, string>): void {
  Deno.mkdirSync(bin);
  for (const name of programs.split(" ")) {
    const path = findProgram(name);
    if (path) Deno.symlinkSync(path, `${bin}/${name}`);
  }
  for (const [name, script] of Object.entries(scripts)) {
    Deno.writeTextFileSync(`${bin}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
}

/** What install.sh takes besides Deno. */
const TOOLS =
  "sh awk basename cat chmod command cp cut dirname id ln mkdir mktemp mv pwd rm rmdir " +
  "tr uname ssh";

Deno.test("install.sh gets Deno by npm where there is none", async () => {
  using home = new Home();
  const bin = `${home.path}/bin`;
  fillBin(bin, TOOLS, {
    npm: `echo "$*" >>'${home.path}/npm'; ln -s '${Deno.execPath()}' '${bin}/deno'`,
  });
  const result = await home.run("sh", [INSTALLER, "--prefix", home.prefix], { env: { PATH: bin } });
  assert.equal(result.code, 0, result.stderr);
  assert.match(Deno.readTextFileSync(`${home.path}/npm`), /^install --global .*deno\n$/);
  assert.ok(exists(`${home.prefix}/bin/ssh`));
});

Deno.test("install.sh gets Deno by Deno's own installer where npm fails", async () => {
  for (const place of ["", "elsewhere"]) {
    using home = new Home();
    const bin = `${home.path}/bin`;
    // As https://deno.land/install.sh does with DENO_INSTALL; it is what the installer is told.
    const installer = `echo "$*" >'${home.path}/told'
      to=\${DENO_INSTALL:-$HOME/.deno}/bin; mkdir -p "$to"; ln -s '${Deno.execPath()}' "$to/deno"`;
    Deno.writeTextFileSync(`${home.path}/installer`, installer);
    fillBin(bin, TOOLS, {
      npm: "echo no registry >&2; exit 1",
      curl: `echo "$*" >>'${home.path}/curl'; cp '${home.path}/installer' "$3"`,
    });
    const env = { PATH: bin, DENO_INSTALL: place && `${home.path}/${place}` };
    const result = await home.run("sh", [INSTALLER, "--prefix", home.prefix], { env });
    assert.deepEqual([result.code, result.stderr], [0, ""]);
    const asked = Deno.readTextFileSync(`${home.path}/curl`);
    assert.match(asked, /^-fsSL -o \S.* https:\/\/deno\.land\/install\.sh\n$/);
    // It asks no question, and edits no file of the user's.
    assert.equal(Deno.readTextFileSync(`${home.path}/told`), "--yes --no-modify-path\n");
    const path = `${home.path}/${place || ".deno"}/bin`;
    assert.ok(exists(`${path}/deno`));
    const call = await home.run(`${home.prefix}/bin/ssh`, ["-G", "-p", "77", "somewhere"], { env });
    assert.match(call.stdout, /^port 77$/m, call.stderr);
  }
});

Deno.test("install.sh says what it does not understand", async () => {
  using home = new Home();
  const wrong = await home.run("sh", [INSTALLER, "--perfix", "x"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^sh install\.sh \[--prefix DIR\]/);
  const help = await home.run("sh", [INSTALLER, "--help"]);
  assert.deepEqual([help.code, help.stderr], [0, ""]);
  const nowhere = await home.run("sh", [], { input: Deno.readTextFileSync(INSTALLER) });
  assert.match(nowhere.stderr, /SSHS_BASE/);
});

Deno.test("deno install of main.ts alone gives a full sshs", async () => {
  using home = new Home();
  const map = Deno.env.get("SSHS_IMPORTS") === "jsr" ? [] : ["--import-map", "imports.npm.json"];
  const permissions = programCommand().filter((word) => word.startsWith("--allow-"));
  const installed = await new Deno.Command(Deno.execPath(), {
    args: ["install", "--global", "--root", home.prefix, "--name", "sshs", "--config", "deno.json"]
      .concat(map, permissions, "main.ts"),
    cwd: REPOSITORY,
    stdout: "null",
    stderr: "piped",
  }).output();
  assert.equal(installed.code, 0, new TextDecoder().decode(installed.stderr));
  const sshs = `${home.prefix}/bin/sshs`;
  assert.match((await home.run(sshs, ["--version"])).stdout, /^sshs /);
  assert.equal((await home.run(sshs, ["--list"])).stdout, "Nothing is shared\n");
  assert.match((await home.run(sshs, ["-G", "-p", "77", "somewhere"])).stdout, /^port 77$/m);
});

Deno.test({
  name: "install.sh --demo shows one login for six calls, and cleans up",
  ignore: !findProgram("sshd"),
  fn: async () => {
    using home = new Home();
    const result = await home.run("sh", [INSTALLER, "--demo"], { env: { TMPDIR: home.path } });
    assert.equal(result.code, 0, result.stderr);
    assert.match(result.stdout, /counted 1 login for the six calls of sshs, and 3 logins/);
    assert.match(result.stdout, /^demo +open/m);
    assert.deepEqual(home.contents(home.path), {});
    const left = await output("ps", ["-eo", "args"]);
    assert.doesNotMatch(left, new RegExp(`${home.path}|sshs-demo\\.`));
  },
});

Deno.test("the demo has root install sshd where there is none, and says when that cannot be", async () => {
  const update = "-q update\n";
  // Nothing is asked, and no server is started for all the world.
  const both = `${update}1 noninteractive -qy install --no-install-recommends openssh-server\n`;
  const byHand = /^demo: there is no sshd here: install OpenSSH's server \(openssh-server\)/;
  const rows: [
    name: string,
    uid: number,
    aptGet: string | undefined,
    calls: string,
    says: RegExp,
  ][] = [
    [
      "a package that cannot be had",
      0,
      '[ "$2" = update ] || { echo "E: no such thing" >&2; exit 100; }',
      both,
      /^demo: cannot install openssh-server: E: no such thing\n$/,
    ],
    [
      "no network",
      0,
      'echo "E: no network" >&2; exit 100',
      update,
      /^demo: cannot install openssh-server: E: no network\n$/,
    ],
    ["an ordinary user", 1000, "exit 0", "", byHand],
    ["another system", 0, undefined, "", byHand],
  ];
  for (const [name, uid, aptGet, calls, says] of rows) {
    using home = new Home();
    const bin = `${home.path}/bin`;
    const record = `echo $RUNLEVEL $DEBIAN_FRONTEND "$*" >>'${home.path}/calls'`;
    fillBin(bin, "sh mktemp rm rmdir tail ssh", {
      id: `echo ${uid}`,
      ...aptGet !== undefined && { "apt-get": `${record}\n${aptGet}` },
    });
    Deno.writeTextFileSync(`${home.path}/calls`, "");
    // It looks for sshd outside of PATH too.
    const demo = Deno.readTextFileSync(`${REPOSITORY}lib/launcher/demo.sh`)
      .replace(/\/usr(\/local)?\/sbin\/sshd/g, "/nowhere/sshd");
    Deno.writeTextFileSync(`${home.path}/demo.sh`, demo);
    const result = await home.run("sh", [`${home.path}/demo.sh`, home.prefix, `${bin}/deno`], {
      env: { PATH: bin, RUNLEVEL: "", DEBIAN_FRONTEND: "" },
    });
    assert.equal(result.code, 1, name);
    assert.match(result.stderr, says, name);
    assert.equal(Deno.readTextFileSync(`${home.path}/calls`), calls, name);
  }
});

Deno.test("completions offer the commands of sshs", async () => {
  const directory = `${REPOSITORY}lib/launcher/completions`;
  const commands = ["--doctor", "--fresh", "--help", "--hold", "--list", "--stop", "--version"]
    .concat("--warm", "--why");
  if (findProgram("bash")) {
    const script =
      `. "$1"; COMP_WORDS=(sshs --) COMP_CWORD=1; _sshs; printf '%s\\n' "\${COMPREPLY[@]}"
      COMP_WORDS=(sshs --stop --n) COMP_CWORD=2; _sshs; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const offered = await output("bash", ["-c", script, "bash", `${directory}/sshs.bash`]);
    assert.deepEqual(offered.trim().split("\n").sort(), [...commands, "--now"].sort());
  }
  if (findProgram("fish")) {
    const script = `source $argv[1]; complete -C 'sshs --'; complete -C 'sshs --stop --n'`;
    const offered = await output("fish", ["--no-config", "-c", script, `${directory}/sshs.fish`]);
    const words = offered.trim().split("\n").map((line) => line.split("\t")[0]);
    assert.deepEqual(
      words.filter((word) => word.startsWith("--")).sort(),
      [...commands, "--now"].sort(),
    );
  }
});

Deno.test({
  name: "in fish sshs completes hosts as ssh does",
  ignore: !findProgram("fish"),
  async fn() {
    await using sandbox = await withHost();
    const file = `${REPOSITORY}lib/launcher/completions/sshs.fish`;
    const script = "source $argv[1]; complete -C 'sshs exampleh'";
    // With --no-config it would not find its own completion of ssh; the sandbox has none to read.
    const { stdout } = await sandbox.run(["fish", "-c", script, file]);
    assert.match(stdout, /^examplehost\b/m);
  },
});

Deno.test({
  name: "in zsh the keys of completion find the commands of sshs, and hosts as after ssh",
  ignore: !findProgram("zsh"),
  async fn() {
    await using sandbox = await withHost();
    await Deno.copyFile(`${REPOSITORY}lib/launcher/completions/sshs.zsh`, `${sandbox.home}/_sshs`);
    await using pty = await Pty.spawn(["zsh", "-f", "-i"], {
      env: { ...sandbox.env, PS1: "$ ", PROMPT: "$ " },
      cwd: sandbox.home,
      columns: 200,
    });
    await pty.waitFor("$ ", DEADLINE);
    pty.write(
      "fpath=(~ $fpath); autoload -Uz compinit; compinit -u -D; bindkey -e; echo re''ady\r",
    );
    await pty.waitFor("ready", DEADLINE);
    const rows = [
      ["sshs --st", "--stop"],
      ["sshs --stop --n", "--now"],
      ["sshs exampleh", "examplehost"],
      ["sshs --hold 5m exampleh", "examplehost"],
    ];
    for (const [typed, completed] of rows) {
      // Run as the words of echo, which shows what the line became.
      pty.write(`${typed}\t\x01echo '<' \x05'>'\r`);
      await pty.waitFor(new RegExp(`^< sshs .*${completed} ?>`, "m"), DEADLINE);
    }
    pty.write("sshs --\t");
    for (const command of ["--doctor", "--fresh", "--warm", "--why"]) {
      assert.ok(await pty.waitFor(command, DEADLINE));
    }
  },
});

Deno.test({
  name: "install.sh tells zsh's users the line by which their completion is found",
  ignore: !findProgram("zsh"),
  async fn() {
    using home = new Home();
    const { stdout } = await home.run("sh", [INSTALLER, "--prefix", home.prefix], {
      env: { SHELL: "/usr/bin/zsh" },
    });
    const line = /^ +(fpath=.*)$/m.exec(stdout)?.[1];
    const script = `${line}; autoload -Uz compinit; compinit -u -D; print $_comps[sshs]`;
    assert.equal(await output("zsh", ["-f", "-c", script]), "_sshs\n", stdout);
    assert.doesNotMatch(await home.install(), /fpath/, "another shell");
  },
});

/** A sandbox whose user's ssh_config names a host. */
async function withHost(): Promise<Sandbox> {
  const sandbox = await Sandbox.create();
  await Deno.mkdir(`${sandbox.home}/.ssh`, { mode: 0o700 });
  await Deno.writeTextFile(`${sandbox.home}/.ssh/config`, "Host examplehost\n");
  return sandbox;
}
