/** Used by install.sh alone, which fetches this file to fetch the others. So it must import nothing. */

/**
 * Fetches a module and all that it imports by relative names. Returns their texts by path, relative to the
 * module's directory. Deno's own loader is not used because it refuses a .ts file that the server sends as
 * something else, as many servers do.
 *
 * @throws {Error} naming the module that cannot be fetched, or that is not below the directory
 */
export async function readModules(main: URL): Promise<Map<string, string>> {
  const base = new URL(".", main).href;
  const texts = new Map<string, string>();
  const met = new Set<string>();
  async function read({ href }: URL): Promise<void> {
    if (met.has(href)) return;
    met.add(href);
    if (!href.startsWith(base)) throw new Error(`${href} is not below ${base}`);
    const answer = await fetch(href);
    if (!answer.ok) throw new Error(`${href}: ${answer.status} ${answer.statusText}`);
    const text = await answer.text();
    texts.set(href.slice(base.length), text);
    const imports = text.matchAll(/\b(?:from |import |import\()"(\.[^"]+)"/g);
    await Promise.all(Array.from(imports, ([, name]) => read(new URL(name, href))));
  }
  await read(main);
  return texts;
}
