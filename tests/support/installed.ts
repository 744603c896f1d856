import { fromFileUrl } from "@std/path/posix/from-file-url";
import { Sandbox } from "./sandbox.ts";

const INSTALLER = fromFileUrl(new URL("../../install.sh", import.meta.url));

/**
 * Installs sshs into a sandbox and puts its launchers first in PATH, as a user would: `ssh`, `scp` and
 * `sftp` are ours from then on.
 */
export async function install(sandbox: Sandbox): Promise<void> {
  const prefix = `${sandbox.dir}/prefix`;
  const { code, stdout, stderr } = await sandbox.run(["sh", INSTALLER, "--prefix", prefix], {
    timeout: 120_000,
  });
  if (code !== 0) throw new Error(`install.sh ended with ${code}:\n${stdout}${stderr}`);
  sandbox.env.PATH = `${prefix}/bin:${sandbox.env.PATH}`;
}

/**
 * Makes the launchers of an installed sshs note each start of Deno, which is how they take the slow
 * way. Returns what tells how many there were.
 */
export async function watchStarts(sandbox: Sandbox): Promise<() => number> {
  const starts = `${sandbox.dir}/starts`;
  const deno = `${sandbox.dir}/noted-deno`;
  const note = `#!/bin/sh\necho >>'${starts}'\nexec '${Deno.execPath()}' "$@"\n`;
  await Deno.writeTextFile(deno, note, { mode: 0o755 });
  await Deno.writeTextFile(starts, "");
  for (const name of ["ssh", "scp", "sftp"]) {
    const launcher = `${sandbox.dir}/prefix/bin/${name}`;
    const text = await Deno.readTextFile(launcher);
    const noted = text.replace(/^sshs_deno=.*$/m, `sshs_deno='${deno}'`);
    if (noted === text) throw new Error(`${launcher} does not say where Deno is`);
    await Deno.writeTextFile(launcher, noted);
  }
  return () => Deno.readTextFileSync(starts).length;
}
