/** What is released: the same bytes everywhere, with all that belongs to it. */
import assert from "node:assert/strict";
import { VERSION } from "../lib/os/program.ts";
import { cacheDir, DIST } from "./support/home.ts";
import { REPOSITORY, run } from "./support/programs.ts";

const OLDEST = Deno.env.get("SSHS_OLDEST_DENO");

const text = (name: string) => Deno.readTextFileSync(`${DIST}/${name}`);

const WAYS: Record<string, string> = {
  "a release is the same bytes from another directory, with a cache of its own": Deno.execPath(),
  ...OLDEST && { "a release is the same bytes with the oldest Deno": OLDEST },
};

for (const [name, deno] of Object.entries(WAYS)) {
  Deno.test(name, async () => {
    const dir = await Deno.makeTempDir({ prefix: "a checkout " });
    try {
      const files = await run("git", ["-C", REPOSITORY, "ls-files", "-co", "--exclude-standard"]);
      await run("tar", ["-C", dir, "-x"], await run("tar", ["-C", REPOSITORY, "-cT", "-"], files));
      // What is in the cache came from the registry, and is checked by the lock file here too.
      await Deno.mkdir(`${dir}/deno`);
      await run("cp", ["-R", `${cacheDir}/npm`, `${dir}/deno`]);
      const { code, stderr } = await new Deno.Command("sh", {
        args: ["deno.sh", "run", "--quiet", "--allow-all", "packaging/release.ts", `${dir}/out`],
        cwd: dir,
        env: {
          PATH: `${deno.replace(/\/[^/]*$/, "")}:${Deno.env.get("PATH")}`,
          DENO_DIR: `${dir}/deno`,
          DENO_TLS_CA_STORE: "mozilla,system",
          SSHS_IMPORTS: "npm",
          SSHS_BASE: "https://example.org",
        },
      }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
      assert.deepEqual([...Deno.readDirSync(`${dir}/out`)].map(({ name }) => name).sort(), [
        ...["CHANGES.md", "SHA256SUMS", "demo.sh", "install.sh", "sshs.js"],
      ]);
      const made = (name: string) => Deno.readTextFileSync(`${dir}/out/${name}`);
      assert.equal(made("install.sh").replace("https://example.org", ""), text("install.sh"));
      const sums = /^.*sshs\.js\n.*demo\.sh\n/.exec(text("SHA256SUMS"))![0];
      assert.ok(made("SHA256SUMS").startsWith(sums));
      assert.equal(made("sshs.js"), text("sshs.js"));
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  });
}

Deno.test("a release has its version, licences and sums, and no path of the machine that made it", async () => {
  const program = text("sshs.js");
  for (const path of [REPOSITORY.slice(0, -1), cacheDir, Deno.env.get("HOME") ?? "/root"]) {
    assert.ok(path === "/" || !program.includes(path), path);
  }
  const packages = program.matchAll(/^\/\/ npm:((?:@[^/]+\/)?[^/]+\/[^/]+)\//gm);
  const names = [...new Set(Array.from(packages, ([, name]) => name))];
  assert.ok(names.length > 2);
  for (const name of ["sshs", ...names]) {
    const licence = program.split(`/*\n * ${name}\n *\n`)[1]?.split("*/")[0];
    assert.match(licence ?? "", /MIT|ISC|BSD|Apache/, name);
  }
  const { name, version } = JSON.parse(Deno.readTextFileSync(`${REPOSITORY}deno.json`));
  assert.equal(version, VERSION);
  assert.match(name, /^@\w+\/sshs$/);
  assert.match(text("CHANGES.md"), new RegExp(`^## ${VERSION} `));
  assert.equal(text("CHANGES.md").match(/^## /gm)?.length, 1);
  await run("sh", ["-c", 'cd "$0" && sha256sum -c SHA256SUMS', DIST]);
});

Deno.test("deno publish --dry-run takes it", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["publish", "--dry-run", "--allow-dirty"],
    cwd: REPOSITORY,
    env: { NO_COLOR: "1" },
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  assert.match(said, new RegExp(`Simulating publish of @\\w+/sshs@${VERSION}`));
  assert.match(said, /dist\/sshs\.js/);
  assert.doesNotMatch(
    said,
    /\/(lib|tests|bench)\//,
    "one file is published, and what is said of it",
  );
});
