/**
 * Makes what is released, in `dist/` or in the directory that is named:
 *
 *     sshs.js       the program, the launcher, the manual and the completions in one file
 *     demo.sh       what `install.sh --demo` shows
 *     install.sh    with the URL ($SSHS_BASE) and the sums of the two
 *     SHA256SUMS    of the three
 *     CHANGES.md    the changelog's part for this version
 *
 * The bytes depend on the commit alone: on no path, and on no version of Deno. Hence a bundler of one
 * version (that of `deno bundle` changes with Deno's) and packages from npm alone, by imports.npm.lock.
 */
import { fromFileUrl } from "@std/path/posix/from-file-url";
import { build, type Plugin, stop } from "esbuild";
import { createRequire } from "node:module";
import { VERSION } from "../lib/os/program.ts";
// With its modules in the graph, Deno has fetched their packages, and says where they are.
import "../main.ts";

const REPOSITORY = fromFileUrl(new URL("..", import.meta.url));

/** Where Deno keeps a package: what is behind the registry's name is the same on each machine. */
const IN_CACHE = /^(.*\/npm\/[^/]+)\/(((?:@[^/]+\/)?[^/]+)\/[^/]+)\/(.*)$/;

if (import.meta.main) {
  await release(Deno.args[0] ?? `${REPOSITORY}dist`, Deno.env.get("SSHS_BASE") ?? "");
  await stop();
}

/** Writes the files of a release into a directory. `base`: the URL that they are to be served from. */
async function release(dir: string, base: string): Promise<void> {
  const fetched = { "sshs.js": await bundle(), "demo.sh": read("packaging/demo.sh") };
  const sums = await sumsOf(fetched);
  const installer = read("install.sh")
    .replace(/^base=''$/m, () => `base='${base}'`)
    .replace(/^sums=''$/m, () => `sums='${sums.trim()}'`);
  const files = {
    ...fetched,
    "install.sh": installer,
    "SHA256SUMS": sums + await sumsOf({ "install.sh": installer }),
    "CHANGES.md": changes(),
  };
  Deno.mkdirSync(dir, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    // Whoever runs the old one meanwhile keeps it.
    Deno.writeTextFileSync(`${dir}/${name}.new`, text);
    Deno.renameSync(`${dir}/${name}.new`, `${dir}/${name}`);
  }
}

/** Returns the program in one file, with the licences of all that is in it. */
async function bundle(): Promise<string> {
  const packages = new Map<string, string>();
  const { outputFiles } = await build({
    absWorkingDir: REPOSITORY,
    entryPoints: ["main.ts"],
    bundle: true,
    write: false,
    format: "esm",
    // What OLDEST_DENO has needs no translation.
    target: "esnext",
    platform: "node",
    charset: "utf8",
    legalComments: "none",
    tsconfigRaw: {},
    plugins: [packagesOf(packages)],
  });
  const licences = [...packages].sort(([one], [other]) => one < other ? -1 : 1)
    .map(([name, dir]) => licenceOf(name, dir));
  return [
    `// sshs ${VERSION}`,
    comment(`sshs\n\n${read("LICENSE")}`),
    ...licences.map(comment),
    outputFiles[0].text,
  ].join("\n");
}

/** Finds packages as Deno does, gives them names without a path, and notes where they are. */
function packagesOf(found: Map<string, string>): Plugin {
  return {
    name: "packages",
    setup(build) {
      const resolve = (path: string) => {
        const [, registry, id, name, rest] = IN_CACHE.exec(path) ?? [];
        if (registry === undefined) throw new Error(`Cannot place ${path}: not in Deno's cache`);
        found.set(id, `${registry}/${id}`);
        return { path: `${id}/${rest}`, namespace: "npm", pluginData: { registry, name } };
      };
      build.onResolve({ filter: /^[^./]/, namespace: "file" }, ({ path, kind }) => {
        if (kind === "entry-point") return;
        if (path.startsWith("node:")) return { path, external: true };
        return resolve(fromFileUrl(import.meta.resolve(path)));
      });
      build.onResolve(
        { filter: /./, namespace: "npm" },
        ({ path, importer, pluginData }) =>
          resolve(createRequire(`${pluginData.registry}/${importer}`).resolve(path)),
      );
      build.onLoad({ filter: /./, namespace: "npm" }, ({ path, pluginData }) => ({
        contents: Deno.readTextFileSync(`${pluginData.registry}/${path}`),
        pluginData,
      }));
      const texts = /\.(sh|1|bash|zsh|fish)$/;
      build.onLoad({ filter: texts, namespace: "file" }, ({ path }) => ({
        contents: Deno.readTextFileSync(path),
        loader: "text",
      }));
    },
  };
}

/** Returns the licence of a package: its text, or as its package.json names it. */
function licenceOf(id: string, dir: string): string {
  const file = [...Deno.readDirSync(dir)].find(({ name }) => /^licen[cs]e/i.test(name));
  if (file) return `${id}\n\n${Deno.readTextFileSync(`${dir}/${file.name}`)}`;
  const { license, author } = JSON.parse(Deno.readTextFileSync(`${dir}/package.json`));
  return `${id}\n\n${license} license, ${author?.name ?? author ?? "the authors of the package"}`;
}

function comment(text: string): string {
  const lines = text.trim().replaceAll("*/", "* /").split("\n");
  return ["/*", ...lines.map((line) => ` * ${line}`.trimEnd()), " */"].join("\n");
}

/** Returns what the changelog says of this version. */
function changes(): string {
  const part = read("CHANGELOG.md").split(/^(?=## )/m)
    .find((text) => text.startsWith(`## ${VERSION} `));
  if (part === undefined) throw new Error(`CHANGELOG.md has no part for ${VERSION}`);
  return part;
}

/** Returns the SHA-256 of each file, as sha256sum(1) prints it. */
async function sumsOf(files: Readonly<Record<string, string>>): Promise<string> {
  const lines = Object.entries(files).map(async ([name, text]) => {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return `${new Uint8Array(digest).toHex()}  ${name}\n`;
  });
  return (await Promise.all(lines)).join("");
}

function read(path: string): string {
  return Deno.readTextFileSync(REPOSITORY + path);
}
