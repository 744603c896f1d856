/** What ssh asks for at a login, for the tests of its questions. */
import { run } from "./programs.ts";
import type { Scene } from "./scene.ts";

/** The passphrase of the key that {@linkcode lockKey} locks. */
export const PASSPHRASE = "a passphrase";

/** Protects the client's key with a passphrase. */
export async function lockKey({ sshd }: Scene): Promise<void> {
  const key = `${sshd.dir}/user_key`;
  await run("ssh-keygen", ["-q", "-p", "-P", "", "-N", PASSPHRASE, "-f", key]);
  sshd.ageConfigs();
}
