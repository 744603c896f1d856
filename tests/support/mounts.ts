/** Whether a test may mount here. */
import { canMakeAccounts } from "./account.ts";
import { run } from "./programs.ts";

/** Whether root may mount a file system. In most containers root may not; an ordinary user never may. */
export const canMount: boolean = canMakeAccounts && await mounts();

async function mounts(): Promise<boolean> {
  const dir = await Deno.makeTempDir();
  try {
    await run("mount", ["-t", "tmpfs", "sshs-test", dir]);
    await run("umount", [dir]);
    return true;
  } catch {
    return false;
  } finally {
    await Deno.remove(dir);
  }
}
