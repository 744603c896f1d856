/** The recipes of README, as they stand: install, install again, upgrade, remove; nothing is left. */
import assert from "node:assert/strict";
import { VERSION } from "../lib/os/program.ts";
import { DIST, Home, serve } from "./support/home.ts";
import { REPOSITORY, run } from "./support/programs.ts";

const README = await Deno.readTextFile(`${REPOSITORY}README.md`);

/** Returns what README says to type after a paragraph that begins with these words. */
function recipe(begins: string): string {
  const [, after] = README.split(`\n${begins}`);
  const [, lines] = /\n\n((?: {4}.*\n)+)/.exec(after ?? "") ?? [];
  assert.ok(lines, begins);
  return lines;
}

/** Runs a script as the owner of the home would type it; fails unless it succeeds. */
async function types(home: Home, script: string): Promise<string> {
  const PATH = `${home.prefix}/bin:${home.path}/.deno/bin:${Deno.env.get("PATH")}`;
  const env = { PATH, TMPDIR: home.path, DENO_TLS_CA_STORE: "mozilla,system" };
  const { code, stdout, stderr } = await home.run("sh", ["-ec", script], { env });
  assert.equal(code, 0, `${script}: ${stdout}${stderr}`);
  return stdout;
}

/** Lists the files in the home but git's own. */
function files(home: Home): string[] {
  return Object.keys(home.contents(home.path))
    .filter((path) => !/\/$|\/\.git\/|^state\//.test(path)).sort();
}

Deno.test("dotfiles: a script that clones or pulls, and installs, may run any number of times, offline too", async () => {
  using home = new Home();
  const origin = `${home.path}/origin`;
  const paths = await run("git", ["-C", REPOSITORY, "ls-files", "-co", "--exclude-standard"]);
  await Deno.mkdir(origin);
  await run("tar", ["-C", origin, "-x"], await run("tar", ["-C", REPOSITORY, "-cT", "-"], paths));
  const commit = `git -C ~/origin init --quiet; git -C ~/origin add --all
    git -C ~/origin -c user.name=neo -c user.email=neo@example.com commit --quiet --message=x`;
  await types(home, commit);
  const before = files(home);

  const script = recipe("From a dotfiles repository").replaceAll("URL", `"file://$HOME/origin"`);
  await types(home, script);
  const first = files(home);
  assert.match(await types(home, "ssh -V 2>&1; sshs --version"), /^OpenSSH.*\nsshs /);
  await types(home, `mv ~/origin ~/gone\n${script}\nmv ~/gone ~/origin`);
  assert.deepEqual(files(home), first);

  const places = {
    "lib/os/program.ts": `VERSION = "${VERSION}"`,
    "CHANGELOG.md": `## ${VERSION} `,
  };
  for (const [name, place] of Object.entries(places)) {
    const text = await Deno.readTextFile(`${origin}/${name}`);
    assert.ok(text.includes(place), name);
    await Deno.writeTextFile(
      `${origin}/${name}`,
      text.replace(place, place.replace(VERSION, "99.0.0")),
    );
  }
  await types(home, `${commit}\n${script}`);
  assert.match(await types(home, "sshs --version"), /^sshs 99\.0\.0,/);
  await types(home, "sshs --uninstall; rm -rf ~/.local/src/sshs; rmdir ~/.local/src ~/.local");
  assert.deepEqual(files(home), before);
});

for (const first of ["deno uninstall --global sshs", "sshs --uninstall"]) {
  Deno.test(`Deno alone: deno install, sshs --install, and both to upgrade; ${first} first leaves nothing`, async () => {
    using home = new Home();
    const www = `${home.path}/www`;
    await Deno.mkdir(www);
    await Deno.copyFile(`${DIST}/sshs.js`, `${www}/sshs.js`);
    await using server = serve(www);
    const script = recipe("With Deno alone").replaceAll("BASE", server.base);
    const [fetch, place] = script.trim().split(/\n */);
    await types(home, fetch);
    assert.match(
      await types(home, "sshs --list; sshs -G -p 77 x"),
      /^nothing is shared\n[^]*^port 77$/m,
    );
    server.served.clear();
    await types(home, place);
    assert.deepEqual([...server.served], [], "it is installed as it was fetched");
    assert.match(await types(home, "ssh -V 2>&1; sshs --version"), /^OpenSSH.*\nsshs /);
    const [installed, all] = [home.contents(), files(home)];
    await home.install();
    assert.deepEqual(home.contents(), installed, "the same as from a file");

    const text = await Deno.readTextFile(`${www}/sshs.js`);
    await Deno.writeTextFile(`${www}/sshs.js`, text.replaceAll(`"${VERSION}"`, '"99.0.0"'));
    await types(home, script.replace("--global", "--global --force --reload"));
    assert.match(await types(home, "sshs --version"), /^sshs 99\.0\.0,/);
    assert.deepEqual(files(home), all);

    const second = first.startsWith("sshs") ? "deno uninstall --global sshs" : "sshs --uninstall";
    await types(home, `${first}; ${second}; rm -r ~/www`);
    const left = Object.keys(home.contents(home.path)).filter((path) => !path.endsWith("/"));
    assert.deepEqual(left, []);
  });
}
