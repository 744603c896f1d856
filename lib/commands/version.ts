/** `sshs --version`: the versions that a bug report needs, on one line. */
import { VERSION } from "../os/program.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import type { System } from "../os/system.ts";

/** `sshs 0.1.0, Deno 2.9.0, OpenSSH_9.2p1 ...`. */
export async function versionLine(system: Pick<System, "env" | "run">): Promise<string> {
  const ssh = findRealSsh(system);
  const openssh = ssh === undefined ? "no ssh in PATH" : await sshVersion(ssh, system);
  return `sshs ${VERSION}, Deno ${Deno.version.deno}, ${openssh}`;
}

/** The first line of `ssh -V`. */
export async function sshVersion(ssh: string, system: Pick<System, "run">): Promise<string> {
  const { stderr } = await system.run(ssh, ["-V"]);
  return stderr.split(/\r?\n/)[0] || `${ssh} of an unknown version`;
}
