/** Linux' `/proc/PID/stat`. */

/**
 * What follows the name in a line of it: state, parent, group, session, terminal, foreground group and
 * so on; proc(5) numbers them from 3. The name before them may hold anything. `undefined` where the
 * line is not one.
 */
export function fieldsAfterName(line: string): string[] | undefined {
  const end = line.lastIndexOf(")");
  return end < 0 ? undefined : line.slice(end + 1).trim().split(" ");
}

/** The start time in a line of it: field 22. */
export function birthFromStat(line: string): string | undefined {
  const fields = fieldsAfterName(line);
  // A zombie has ended, and may wait for long until its parent takes note.
  return fields?.[0] === "Z" ? undefined : fields?.[19];
}
