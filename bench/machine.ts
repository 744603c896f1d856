/** What the figures were measured on: they mean nothing without it. No host name, no path. */
import { VERSION } from "../lib/os/program.ts";
import { canMount } from "../tests/support/mounts.ts";
import { needProgram } from "../tests/support/programs.ts";

/** Facts by name, in the order of the report. */
export type Machine = Readonly<Record<string, string>>;

/**
 * @param quick whether it is a quick run, of few runs each
 * @param busy how many busy loops run beside it
 */
export async function describeMachine(quick: boolean, busy: number): Promise<Machine> {
  const cpu = /^model name\s*:\s*(.*)$/m.exec(await Deno.readTextFile("/proc/cpuinfo"));
  const ssh = await new Deno.Command(needProgram("ssh"), { args: ["-V"] }).output();
  const memory = Deno.systemMemoryInfo().total / 2 ** 30;
  return {
    run: quick ? "quick: a few runs of each" : "full",
    date: new Date().toISOString().slice(0, 10),
    cpu: `${cpu?.[1] ?? "unknown"}, ${navigator.hardwareConcurrency} cores`,
    memory: `${memory.toFixed(1)} GiB`,
    kernel: `${Deno.build.os} ${Deno.osRelease().split("-")[0]} ${Deno.build.arch}`,
    "control sockets": canMount ? "in memory, as $XDG_RUNTIME_DIR is" : "on the disk of $TMPDIR",
    "load at the start": Deno.loadavg()[0].toFixed(2),
    "busy loops beside": `${busy}`,
    sshs: VERSION,
    deno: Deno.version.deno,
    openssh: new TextDecoder().decode(ssh.stderr).trim(),
  };
}
