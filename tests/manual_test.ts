import assert from "node:assert/strict";
import { HELP, USAGE } from "../lib/commands/help.ts";
import { VERSION } from "../lib/os/program.ts";
import { findProgram } from "./support/programs.ts";

const MANUAL = new URL("../sshs.1", import.meta.url);
const text = await Deno.readTextFile(MANUAL);

/** The environment variables that --help names. */
const VARIABLES = Array.from(HELP.matchAll(/^ {2}([A-Z][A-Z_]+)(?=[ =])/gm), ([, name]) => name);
assert.notEqual(VARIABLES.length, 0);

Deno.test("sshs.1 has each command with the words of its usage and a description", () => {
  const items = text.matchAll(/^\.It (Fl -.*)\n([^.].*|\.[A-Z][a-z] .*)\n/gm);
  const described = Object.fromEntries(Array.from(items, ([, item]) => {
    const words = item.replaceAll("Fl -", "--").replaceAll(/\b(Ar|Cm|Fl|Ns|Oc|Oo|Op)\b/g, "");
    const [command, ...rest] = words.match(/--\w+|\w+/g)!;
    return [command, rest.sort()];
  }));
  const expected = [...USAGE.values()].map((usage) => {
    const [command, ...words] = usage.toLowerCase().match(/--\w+|\w+/g)!.slice(1);
    return [command, words.map((word) => word === "options" ? "ssh_options" : word).sort()];
  });
  assert.notEqual(expected.length, 0);
  assert.deepEqual(described, Object.fromEntries(expected));
});

Deno.test("sshs.1 names each variable that --help does", () => {
  for (const name of VARIABLES) {
    assert.match(text, new RegExp(`^\\.It Ev ${name}\\b`, "m"));
  }
});

Deno.test("README.md has the usage of each command, GUIDE.md each variable of --help", async () => {
  const [readme, guide] = await Promise.all(
    ["README", "GUIDE"].map((name) => Deno.readTextFile(new URL(`../${name}.md`, import.meta.url))),
  );
  for (const usage of USAGE.values()) assert.ok(readme.includes(`    ${usage}`), usage);
  for (const name of VARIABLES) {
    assert.match(guide, new RegExp(`^\\| \`${name}[\`=]`, "m"));
  }
});

Deno.test({
  name: "sshs.1 passes mandoc's lint",
  ignore: findProgram("mandoc") === undefined,
  fn: () => {
    const { stdout } = new Deno.Command("mandoc", { args: ["-T", "lint", MANUAL.pathname] })
      .outputSync();
    // The pages that it refers to need not be installed here.
    const lines = new TextDecoder().decode(stdout).split("\n");
    assert.deepEqual(lines.filter((line) => line && !/referenced manual not found/.test(line)), []);
  },
});

Deno.test("CHANGELOG.md begins with this version", async () => {
  const changes = await Deno.readTextFile(new URL("../CHANGELOG.md", import.meta.url));
  assert.equal(/^## (\S+)/m.exec(changes)?.[1], VERSION);
});
