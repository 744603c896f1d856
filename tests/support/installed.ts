import { INSTALLER } from "./programs.ts";
import type { Sandbox } from "./sandbox.ts";

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
