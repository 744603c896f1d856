/**
 * Returns everything below a directory, with paths relative to it; directories end in `/`. What is removed
 * meanwhile is left out, even the directory itself.
 */
export function walk(root: string, below = ""): string[] {
  let entries: Deno.DirEntry[];
  try {
    entries = [...Deno.readDirSync(`${root}/${below}`)];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  return entries.flatMap(({ name, isDirectory }) => {
    const path = `${below}${name}`;
    return isDirectory ? [`${path}/`, ...walk(root, `${path}/`)] : [path];
  });
}
