/** What a test may mount here. */
import { canMakeAccounts } from "./account.ts";
import { run } from "./programs.ts";

/** Whether root may mount a file system. In most containers root may not; an ordinary user never may. */
export const canMount: boolean = canMakeAccounts && await mounts();

/** Whether programs such as sshfs may mount: that takes FUSE in the kernel, and its device in the container. */
export const canUseFuse: boolean = opensFuse();

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

function opensFuse(): boolean {
  try {
    Deno.openSync("/dev/fuse", { read: true, write: true }).close();
    return true;
  } catch {
    return false;
  }
}
