/** install.sh: how it gets Deno and the program, from a pipe and from a checkout. */
import assert from "node:assert/strict";
import { OLDEST_DENO } from "../lib/os/program.ts";
import { pause } from "../lib/os/system.ts";
import { cacheDir, DIST, fillBin, Home, type Result, serve } from "./support/home.ts";
import { isThere } from "./support/is_there.ts";
import { signal } from "./support/processes.ts";
import { findProgram, INSTALLER } from "./support/programs.ts";

/** The programs that install.sh needs besides Deno, and one that fetches. */
const TOOLS = "sh awk cat chmod dirname grep id ln mkdir mv pwd rm rmdir sed sort tail uname ssh";

/** Runs install.sh as `... | sh` does. */
function pipe(home: Home, text: string, env: Record<string, string> = {}): Promise<Result> {
  return home.run("sh", [], { input: text, env: { TMPDIR: home.path, ...env } });
}

Deno.test("install.sh of a release takes one file and no variable, with curl or wget alone", async () => {
  await using server = serve();
  const text = Deno.readTextFileSync(`${DIST}/install.sh`).replace(
    /^base=''$/m,
    `base='${server.base}'`,
  );
  using home = new Home();
  await home.install();
  // Where Deno is, each PATH says itself.
  const contents = () => ({ ...home.contents(), "lib/sshs/program": "" });
  const expected = contents();
  for (const tool of ["curl", "wget"].filter((name) => findProgram(name))) {
    await home.sshs("--uninstall");
    server.served.clear();
    const bin = `${home.path}/${tool}`;
    fillBin(bin, `${TOOLS} deno ${tool}`, {});
    const { code, stderr } = await pipe(home, text, { PATH: bin });
    assert.deepEqual([code, stderr], [0, `Fetching ${server.base}/sshs.js\n`]);
    assert.deepEqual(contents(), expected);
    assert.deepEqual([...server.served], ["sshs.js"]);
    assert.deepEqual([...Deno.readDirSync(home.path)].filter(({ name }) => /sshs-/.test(name)), []);
    Deno.removeSync(bin, { recursive: true });
  }
});

Deno.test("install.sh from a checkout installs what a release does, and so does SSHS_BASE", async () => {
  await using server = serve();
  using home = new Home();
  await home.install();
  const expected = home.contents();
  const ways = [
    () => home.run("sh", [INSTALLER], { env: { TMPDIR: home.path } }),
    () => pipe(home, Deno.readTextFileSync(INSTALLER), { SSHS_BASE: `${server.base}/` }),
  ];
  for (const way of ways) {
    const gone = await home.run("sh", [INSTALLER, "--uninstall"]);
    assert.deepEqual([gone.code, gone.stderr, isThere(home.prefix)], [0, "", false]);
    const { code, stderr } = await way();
    assert.equal(code, 0, stderr);
    assert.deepEqual(home.contents(), expected);
  }
});

Deno.test("install.sh leaves nothing if the file is missing, cut short or another", async () => {
  const text = Deno.readTextFileSync(`${DIST}/sshs.js`);
  const rows: [answer: Response, says: RegExp][] = [
    [new Response("", { status: 404 }), /404[^]*install\.sh: cannot fetch .*\/sshs\.js$/m],
    [new Response(text.slice(0, -1)), /sshs\.js is not what was released\ninstall\.sh: hint: /],
    [new Response("console.log('sshs 0.3.0')"), /is not what was released/],
  ];
  for (const [answer, says] of rows) {
    using home = new Home();
    await using server = serve(DIST, (path) => path === "sshs.js" ? answer : undefined);
    const result = await pipe(home, Deno.readTextFileSync(INSTALLER), { SSHS_BASE: server.base });
    assert.equal(result.code, 1);
    assert.match(result.stderr, says);
    assert.deepEqual(home.contents(home.path), {});
  }
});

Deno.test("install.sh cut off anywhere does nothing", async () => {
  const text = Deno.readTextFileSync(INSTALLER).trimEnd();
  const cuts = Array.from({ length: 24 }, (_, n) => text.length - 1 - n);
  for (let n = 1; n < 30; n++) cuts.push(Math.floor(text.length * n / 30));
  using home = new Home();
  for (const cut of cuts) {
    const result = await pipe(home, text.slice(0, cut), { SSHS_BASE: "http://127.0.0.1:1" });
    assert.equal(result.stdout, "", `cut at ${cut}`);
    assert.doesNotMatch(result.stderr, /install\.sh:/, `cut at ${cut}`);
    assert.deepEqual(home.contents(home.path), {}, `cut at ${cut}`);
  }
});

Deno.test("install.sh interrupted at any moment installs all or nothing, and leaves no file", async () => {
  using home = new Home();
  await home.install();
  const all = home.contents();
  const outcomes = new Set<number>();
  for (let n = 0; n < 10; n++) {
    await home.run("sh", [INSTALLER, "--uninstall"]);
    const child = new Deno.Command("sh", {
      args: [INSTALLER],
      env: { HOME: home.path, TMPDIR: home.path, DENO_DIR: cacheDir, SHELL: "/bin/sh" },
      detached: true,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await pause(n * 90);
    signal([-child.pid], "SIGINT"); // to the whole group, as Ctrl-C
    outcomes.add((await child.status).code);
    const left = home.contents(home.path);
    const here = home.contents();
    const PATH = `${home.prefix}/bin:${Deno.env.get("PATH")}`;
    assert.match((await home.run("sh", ["-c", "ssh -V"], { env: { PATH } })).stderr, /^OpenSSH/);
    if (Object.keys(here).length > 0) assert.deepEqual(here, all, `${n}`);
    assert.deepEqual(Object.keys(left).filter((path) => !path.startsWith(".local")), [], `${n}`);
  }
  assert.ok(outcomes.has(130), `${[...outcomes]}`);
});

Deno.test("install.sh gets Deno from npm, else with Deno's own installer, and says what went wrong", async () => {
  const deno = Deno.execPath();
  const npm = (home: Home) =>
    `echo "$*" >>'${q(home)}/told'; ln -s '${deno}' '${q(home)}/bin/deno'`;
  const failing = "echo 'npm ERR! UNABLE_TO_GET_ISSUER' >&2; exit 1";
  // As https://deno.land/install.sh treats DENO_INSTALL.
  const installer = `mkdir -p "$DENO_INSTALL/bin"; cp '${deno}' "$DENO_INSTALL/bin/deno"`;
  const rows: [name: string, npm: (home: Home) => string, curl: string, code: number][] = [
    ["npm", npm, "exit 22", 0],
    ["Deno's own installer", () => failing, 'cp "$HOME/installer" "$3"', 0],
    ["neither", () => failing, "echo 'curl: (6) no host' >&2; exit 6", 1],
  ];
  for (const [name, npm, curl, code] of rows) {
    using home = new Home();
    const bin = `${home.path}/bin`;
    Deno.writeTextFileSync(`${home.path}/installer`, installer);
    fillBin(bin, `${TOOLS} cp`, {
      npm: npm(home),
      curl: `case $* in *deno.land*) ${curl} ;; *) exec '${findProgram("curl")}' "$@" ;; esac`,
    });
    await using server = serve();
    const text = Deno.readTextFileSync(INSTALLER);
    const result = await pipe(home, text, { PATH: bin, SSHS_BASE: server.base });
    assert.equal(result.code, code, `${name}: ${result.stderr}`);
    if (name === "npm") {
      assert.equal(Deno.readTextFileSync(`${home.path}/told`), "install --global deno\n");
    } else if (name === "neither") {
      assert.match(
        result.stderr,
        /UNABLE_TO_GET_ISSUER\n.*no host\n.*cannot install deno\n.*hint: /,
      );
    } else {
      assert.ok(isThere(`${home.path}/.deno/bin/deno`));
      const call = await home.run(`${home.prefix}/bin/ssh`, ["-G", "-p", "77", "somewhere"]);
      assert.match(call.stdout, /^port 77$/m, call.stderr);
    }
    assert.deepEqual([...Deno.readDirSync(home.path)].filter(({ name }) => /sshs-/.test(name)), []);
  }
});

/** A path within single quotes of sh. */
function q({ path }: Home): string {
  return path.replaceAll("'", "'\\''");
}

Deno.test("install.sh refuses a Deno that is too old, an unknown option, and a pipe without SSHS_BASE", async () => {
  using home = new Home();
  const text = Deno.readTextFileSync(INSTALLER);
  assert.equal(/^oldest=(.*)$/m.exec(text)?.[1], OLDEST_DENO);
  for (const version of ["1.46.3", "2.6.10", "2.7.0"]) {
    const bin = `${home.path}/${version}`;
    fillBin(bin, TOOLS, { deno: `echo '${version} /there/deno'` });
    const { code, stderr } = await home.run("sh", [INSTALLER], { env: { PATH: bin } });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /^install\.sh: deno .* at \/there\/deno is older than .*\n.*deno upgrade\n$/,
    );
  }
  const wrong = await home.run("sh", [INSTALLER, "--perfix", "x"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^sh install\.sh \[--prefix DIR\]/);
  assert.match((await pipe(home, text)).stderr, /not a checkout\n.*SSHS_BASE/);
  const nothing = await home.run("sh", [INSTALLER, "--uninstall"]);
  assert.match(
    nothing.stderr,
    /^install\.sh: sshs is not installed in .*\n.*hint: use --prefix DIR\n$/,
  );
});
