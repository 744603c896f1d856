import { findProgram } from "./programs.ts";
import type { Scene } from "./scene.ts";

/**
 * Sets ansible up in a scene: its host is the scene's, and its ssh the installed one. Resolves to the path
 * of the inventory.
 */
export async function setUpAnsible(scene: Scene): Promise<string> {
  const { home, env } = scene.sandbox;
  // The account on the server can run only the system's python3.
  const python = findProgram("python3", "/usr/bin:/usr/local/bin");
  const inventory = `${home}/inventory`;
  await Deno.writeTextFile(
    inventory,
    `host ansible_ssh_common_args='-F ${scene.config}' ` +
      `ansible_python_interpreter=${python} ansible_ssh_executable=${scene.bin}/ssh\n`,
  );
  Object.assign(env, { ANSIBLE_HOME: `${home}/ansible`, LC_ALL: "C.UTF-8" });
  return inventory;
}
