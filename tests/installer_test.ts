/** install.sh: how it gets Deno and the program. */
import assert from "node:assert/strict";
import { OLDEST_DENO } from "../lib/os/program.ts";
import { fillBin, Home, normal, serve } from "./support/home.ts";
import { isThere } from "./support/is_there.ts";
import { findProgram, INSTALLER, REPOSITORY, run as output } from "./support/programs.ts";

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
    assert.deepEqual(normal(home.contents()), normal(expected));
    // It fetched only files of the repository, and left out nothing of the program.
    const files = (await output("git", ["-C", REPOSITORY, "ls-files", "-co", "--exclude-standard"]))
      .split("\n");
    for (const path of server.served) assert.ok(files.includes(path), path);
    for (const path of files.filter((path) => /^(lib\/|main|sshs\.1)/.test(path))) {
      assert.ok(server.served.has(path), path);
    }
  },
});

Deno.test({
  name: "install.sh from a pipe leaves nothing if a file is missing or truncated",
  ignore: !findProgram("curl"),
  fn: async () => {
    const cut = (path: string) =>
      new Response(Deno.readTextFileSync(REPOSITORY + path).slice(0, 2500));
    const missing = () => new Response("", { status: 404 });
    for (
      const [path, answer] of [["lib/launcher/launcher.sh", cut], [
        "lib/ssh/arguments.ts",
        missing,
      ]] as const
    ) {
      using home = new Home();
      await using server = serve({ spoil: (asked) => asked === path ? answer(path) : undefined });
      const input = Deno.readTextFileSync(INSTALLER);
      const result = await home.run("sh", ["-s", "--", "--prefix", home.prefix], {
        input,
        env: { SSHS_BASE: server.base, TMPDIR: home.path },
      });
      assert.equal(result.code, 1, result.stdout);
      assert.match(result.stderr, /^(install\.sh: cannot fetch|sshs: the launcher)/m);
      assert.deepEqual(home.contents(home.path), {});
    }
  },
});

Deno.test("install.sh truncated anywhere does nothing", async () => {
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

/** The programs that install.sh needs besides Deno. */
const TOOLS =
  "sh awk basename cat chmod command cp cut dirname id ln mkdir mktemp mv pwd rm rmdir " +
  "sed sort tr uname ssh";

Deno.test("install.sh gets Deno from npm if there is none", async () => {
  using home = new Home();
  const bin = `${home.path}/bin`;
  fillBin(bin, TOOLS, {
    npm: `echo "$*" >>'${home.path}/npm'; ln -s '${Deno.execPath()}' '${bin}/deno'`,
  });
  const result = await home.run("sh", [INSTALLER, "--prefix", home.prefix], { env: { PATH: bin } });
  assert.equal(result.code, 0, result.stderr);
  assert.match(Deno.readTextFileSync(`${home.path}/npm`), /^install --global .*deno\n$/);
  assert.ok(isThere(`${home.prefix}/bin/ssh`));
});

Deno.test("install.sh gets Deno with Deno's own installer if npm fails", async () => {
  for (const place of ["", "elsewhere"]) {
    using home = new Home();
    const bin = `${home.path}/bin`;
    // Treats DENO_INSTALL as https://deno.land/install.sh does, and notes its arguments.
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
    // It asks no questions, and edits none of the user's files.
    assert.equal(Deno.readTextFileSync(`${home.path}/told`), "--yes --no-modify-path\n");
    const path = `${home.path}/${place || ".deno"}/bin`;
    assert.ok(isThere(`${path}/deno`));
    const call = await home.run(`${home.prefix}/bin/ssh`, ["-G", "-p", "77", "somewhere"], { env });
    assert.match(call.stdout, /^port 77$/m, call.stderr);
  }
});

Deno.test("install.sh refuses a Deno that is too old, and says what to type", async () => {
  for (const version of ["1.46.3", "2.6.10", "2.7.0"]) {
    using home = new Home();
    const bin = `${home.path}/bin`;
    fillBin(bin, TOOLS, {
      deno:
        `case $1 in --version) echo 'deno ${version} (stable)' ;; *) echo '${bin}/deno' ;; esac`,
    });
    const args = [INSTALLER, "--prefix", home.prefix];
    const result = await home.run("sh", args, { env: { PATH: bin } });
    assert.equal(result.code, 1);
    assert.equal(
      result.stderr,
      `deno.sh: deno ${version} at ${bin}/deno is older than ${OLDEST_DENO}\n` +
        "deno.sh: hint: deno upgrade\n",
    );
    assert.equal(isThere(home.prefix), false);
  }
});

Deno.test("install.sh says that packages come from npm if JSR is out of reach", async () => {
  using home = new Home();
  const bin = `${home.path}/bin`;
  fillBin(bin, TOOLS, {
    deno: `case $1 in cache) exit 1 ;; *) exec '${Deno.execPath()}' "$@" ;; esac`,
  });
  const env = { PATH: bin, SSHS_IMPORTS: "" };
  const result = await home.run("sh", [INSTALLER, "--prefix", home.prefix], { env });
  assert.equal(result.code, 0);
  assert.match(result.stderr, /^deno\.sh: jsr\.io is out of reach: .*imports\.npm\.lock.*\n$/);
});

Deno.test("deno.sh refuses a package from npm that does not match imports.npm.lock", async () => {
  using home = new Home();
  const tarball = new TextEncoder().encode("another package");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-512", tarball)).toBase64();
  await using server = Deno.serve({ port: 0, onListen: () => {} }, ({ url }) => {
    if (url.endsWith(".tgz")) return new Response(tarball);
    const [name, version] = ["deno-std", "1.4.0"];
    const dist = { tarball: `${new URL(url).origin}/${name}.tgz`, integrity: `sha512-${digest}` };
    const versions = { [version]: { name, version, dist } };
    return Response.json({ name, "dist-tags": { latest: version }, versions });
  });
  const result = await home.run("sh", [`${REPOSITORY}deno.sh`, "run", `${REPOSITORY}main.ts`], {
    env: {
      DENO_DIR: `${home.path}/cache`,
      NPM_CONFIG_REGISTRY: `http://127.0.0.1:${server.addr.port}`,
      SSHS_IMPORTS: "npm",
    },
  });
  assert.equal(result.code, 1);
  assert.match(result.stderr, /checksum did not match|integrity/i);
});

Deno.test("install.sh rejects an unknown option, and a pipe without SSHS_BASE", async () => {
  using home = new Home();
  const wrong = await home.run("sh", [INSTALLER, "--perfix", "x"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^sh install\.sh \[--prefix DIR\]/);
  const help = await home.run("sh", [INSTALLER, "--help"]);
  assert.deepEqual([help.code, help.stderr], [0, ""]);
  const nowhere = await home.run("sh", [], { input: Deno.readTextFileSync(INSTALLER) });
  assert.match(nowhere.stderr, /SSHS_BASE/);
});
