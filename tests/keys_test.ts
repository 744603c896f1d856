import assert from "node:assert/strict";
import { parseSshArgs } from "../lib/ssh/arguments.ts";
import type { SshConfig } from "../lib/ssh/config_dump.ts";
import { readConfig } from "../lib/ssh/configuration.ts";
import { keyFiles, readKeys } from "../lib/ssh/key_files.ts";
import { realSystem } from "../lib/os/system.ts";
import { needProgram, run } from "./support/programs.ts";

async function configOf(...argv: string[]): Promise<SshConfig> {
  const args = parseSshArgs(argv);
  assert.ok(args.kind === "call", argv.join(" "));
  const answer = await readConfig(needProgram("ssh"), args, realSystem);
  assert.ok(answer.kind === "config", JSON.stringify(answer));
  return answer.config;
}

async function temporary(): Promise<AsyncDisposable & { dir: string }> {
  const dir = await Deno.makeTempDir();
  return { dir, [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }) };
}

/** Returns the files that ssh itself says it looks for, once it has something to connect to. */
async function filesOfSsh(argv: readonly string[]): Promise<string[]> {
  const { stderr } = await new Deno.Command(needProgram("ssh"), {
    args: ["-v", "-oProxyCommand=echo", ...argv],
    stdin: "null",
    stdout: "null",
  }).output();
  const said = new TextDecoder().decode(stderr);
  const found = said.matchAll(/^debug1: (?:identity|certificate) file (.*) type -?\d+\r?$/gm);
  return Array.from(found, ([, path]) => path);
}

Deno.test("keyFiles names what ssh looks for", async () => {
  const rows: string[][] = [
    [],
    ["-oIdentityFile=~/x", "-oIdentityFile='/y z'"],
    ["-oIdentityFile=/%h/%n/%p/%r/%u/%i/%l/%L/%C/%d/%%/%k", "-p77", "-lann"],
    ["-oIdentityFile=/%k", "-oHostKeyAlias=alias"],
    ["-oIdentityFile=${SSHS_KEYS_TEST}/k", "-oCertificateFile=~/%h-c", "-oCertificateFile=/d"],
    ["-oIdentityFile=none"],
    ["-oIdentityFile=none", "-oIdentityFile=/x"],
    ["-i/x", "-i~/y"],
  ];
  Deno.env.set("SSHS_KEYS_TEST", "/from the environment");
  for (const options of rows) {
    const argv = ["-F", "none", ...options, "host.example"];
    const files = keyFiles(await configOf(...argv), realSystem);
    const expected = (await filesOfSsh(argv)).flatMap((path) => [path, `${path}.pub`]);
    assert.ok(files, options.join(" "));
    assert.deepEqual(files.toSorted(), [...new Set(expected)].toSorted(), options.join(" "));
  }
  Deno.env.delete("SSHS_KEYS_TEST");
});

Deno.test("keyFiles does not guess", async () => {
  const rows: [options: string[], expected: string[] | undefined][] = [
    [["-oIdentityFile=~root/k"], undefined],
    [["-oIdentityFile=/%q"], undefined],
    [["-oIdentityFile=/k%"], undefined],
    [["-oIdentityFile=/${SSHS_NOT_SET}"], undefined],
    [["-oIdentityFile=~nobody"], undefined],
    [["-oIdentityFile=/k", "-oCertificateFile=/%j"], undefined],
    [["-oIdentityFile=/dev/null"], []],
    [["-oPubkeyAuthentication=no"], []],
    [["-oIdentityFile=k", "-oCertificateFile=/c"], ["/here/k", "/here/k.pub", "/c", "/c.pub"]],
  ];
  for (const [options, expected] of rows) {
    const config = await configOf("-F", "none", ...options, "host");
    const files = keyFiles(config, { ...realSystem, cwd: () => "/here" });
    assert.deepEqual(files, expected, options.join(" "));
  }
});

Deno.test("readKeys tells each content, and what is there, by its digest", async () => {
  await using temp = await temporary();
  const paths = ["a", "b"].map((name) => `${temp.dir}/${name}`);
  const seen = new Set<string>();
  const steps: [name: string, step: () => unknown][] = [
    ["neither", () => {}],
    ["one", () => Deno.writeTextFile(paths[0], "x")],
    ["another content", () => Deno.writeTextFile(paths[0], "y")],
    ["empty", () => Deno.writeTextFile(paths[0], "")],
    ["both", () => Deno.writeTextFile(paths[1], "x")],
    ["the second", () => Deno.remove(paths[0])],
    ["a link", () => Deno.symlink("b", paths[0])],
  ];
  for (const [name, step] of steps) {
    await step();
    const keys = await readKeys(paths, realSystem);
    assert.ok(keys && /^[0-9a-f]{64}$/.test(keys.digest) && !seen.has(keys.digest), name);
    seen.add(keys.digest);
  }
  await Deno.remove(paths[0]);
  await Deno.mkdir(paths[0]);
  assert.ok(seen.has((await readKeys(paths, realSystem))!.digest), "a directory is no key");
});

Deno.test("readKeys leaves a pipe to ssh, and does not wait for its writer", async () => {
  await using temp = await temporary();
  await run("mkfifo", [`${temp.dir}/pipe`]);
  await Deno.symlink("/dev/stdin", `${temp.dir}/link`);
  for (const path of [`${temp.dir}/pipe`, "/dev/fd/63", "/proc/self/fd/0"]) {
    assert.equal(await readKeys([path], realSystem), undefined, path);
  }
});

Deno.test("readKeys finds public keys and certificates in files of their own", async () => {
  await using temp = await temporary();
  const at = (name: string) => `${temp.dir}/${name}`;
  const make = async (name: string, ...options: string[]) => {
    await run("ssh-keygen", ["-q", "-C", "me", ...options, "-f", at(name)]);
    return (await Deno.readTextFile(at(`${name}.pub`))).split(" ").slice(0, 2).join(" ");
  };
  const read = async (...names: string[]) => (await readKeys(names.map(at), realSystem))!;
  const plain = await make("plain", "-N", "", "-t", "ed25519");
  const locked = await make("locked", "-N", "secret", "-t", "ecdsa");
  const old = await make("old", "-N", "", "-t", "rsa", "-b", "2048", "-m", "PEM");
  await run("ssh-keygen", ["-q", "-s", at("plain"), "-I", "me", at("locked.pub")]);
  const [type, blob] = (await Deno.readTextFile(at("locked-cert.pub"))).split(" ");
  const all = await read("plain", "plain.pub", "locked.pub", "old", "old.pub", "locked-cert.pub");
  assert.deepEqual(all.publicKeys, [plain, locked, old, `${type} ${blob}`]);
  assert.equal(all.areNamed, true);
  // An agent may have the key of a file that does not say which it is.
  await Deno.remove(at("plain.pub"));
  const { areNamed, publicKeys } = await read("plain", "plain.pub");
  assert.deepEqual([areNamed, publicKeys], [false, []]);
  for (const text of ["\n# comment\n", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA"]) {
    await Deno.writeTextFile(at("plain.pub"), text);
    assert.deepEqual((await read("plain.pub")).publicKeys, [], text);
  }
});
