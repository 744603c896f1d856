import type { Sandbox } from "./sandbox.ts";

/** Installs sshs into a sandbox and puts its commands first in PATH, as a user would. */
export async function install(sandbox: Sandbox): Promise<void> {
  const prefix = `${sandbox.dir}/prefix`;
  const { code, stdout, stderr } = await sandbox.sshs(["--install", "--prefix", prefix]);
  if (code !== 0) throw new Error(`sshs --install ended with ${code}:\n${stdout}${stderr}`);
  sandbox.env.PATH = `${prefix}/bin:${sandbox.env.PATH}`;
}
