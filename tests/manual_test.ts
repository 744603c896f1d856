import assert from "node:assert/strict";
import { USAGE } from "../lib/commands/command.ts";
import { HELP } from "../lib/commands/help.ts";
import { VERSION } from "../lib/os/program.ts";
import { findProgram } from "./support/programs.ts";

const MANUAL = new URL("../sshs.1", import.meta.url);
const text = await Deno.readTextFile(MANUAL);

Deno.test("sshs.1 names each command and each variable that --help does", () => {
  for (const name of Object.keys(USAGE)) {
    assert.match(text, new RegExp(`^\\.It Fl -${name}\\b`, "m"));
  }
  for (const [name] of HELP.matchAll(/^ {2}([A-Z][A-Z_]+)(?=[ =])/gm)) {
    assert.match(text, new RegExp(`^\\.It Ev ${name.trim()}\\b`, "m"));
  }
});

Deno.test("README.md has each command as it is used, and each variable of --help", async () => {
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  for (const usage of Object.values(USAGE)) assert.ok(readme.includes(`    ${usage}`), usage);
  for (const [name] of HELP.matchAll(/^ {2}([A-Z][A-Z_]+)(?=[ =])/gm)) {
    assert.match(readme, new RegExp(`^\\| \`${name.trim()}[\`=]`, "m"));
  }
});

Deno.test({
  name: "sshs.1 is good mdoc",
  ignore: findProgram("mandoc") === undefined,
  fn: () => {
    const { stdout } = new Deno.Command("mandoc", { args: ["-T", "lint", MANUAL.pathname] })
      .outputSync();
    // Whether the pages that it refers to are installed here is not its business.
    const lines = new TextDecoder().decode(stdout).split("\n");
    assert.deepEqual(lines.filter((line) => line && !/referenced manual not found/.test(line)), []);
  },
});

Deno.test("CHANGELOG.md begins with this version", async () => {
  const changes = await Deno.readTextFile(new URL("../CHANGELOG.md", import.meta.url));
  assert.equal(/^## (\S+)/m.exec(changes)?.[1], VERSION);
});
