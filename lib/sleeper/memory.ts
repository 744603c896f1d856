/**
 * Makes a process that waits smaller. A Deno that has started has touched some 30 MB of its program
 * file, and needs a third of it to wait: the rest is given back, and what is used again comes from the
 * page cache. Only Linux tells where the file is; elsewhere no more than garbage is given back.
 */

/** Asynchronous, since Deno compiles a stub for each synchronous function: 3 MB of compiler at work. */
const SYMBOLS = {
  getauxval: { parameters: ["u64"], result: "u64", nonblocking: true },
  madvise: { parameters: ["u64", "usize", "i32"], result: "i32", nonblocking: true },
  /** Of glibc alone. */
  malloc_trim: { parameters: ["usize"], result: "i32", nonblocking: true, optional: true },
} as const;

const [AT_PHDR, AT_PHENT, AT_PHNUM] = [3n, 4n, 5n]; // getauxval(3)
const [PT_LOAD, PT_PHDR, PF_W] = [1, 6, 2]; // elf(5)
const [MADV_RANDOM, MADV_DONTNEED] = [1, 4]; // madvise(2)
/** A multiple of the page size of every machine, bytes. */
const PAGE = 64n * 1024n;

/** What malloc(3) keeps for the next look, bytes: to get it anew each time is work. */
const KEPT = 1024n * 1024n;

interface Range {
  readonly start: bigint;
  readonly length: bigint;
}

/** Gives back what is garbage, and the pages of this process's own program file that it does not use now. */
export async function shrink(): Promise<void> {
  // With --expose-gc. V8 and malloc(3) keep what they once had: 50 lanes took 3 to 6 MB more. The last
  // resort is the collection that moves what is left together.
  (globalThis as { gc?: (how: object) => void }).gc?.({
    type: "major",
    execution: "sync",
    flavor: "last-resort",
  });
  if (Deno.build.os !== "linux") return;
  const libc = load();
  if (!libc) return;
  await libc.symbols.malloc_trim?.(KEPT);
  await releaseProgram(libc.symbols);
  libc.close();
}

type Libc = NonNullable<ReturnType<typeof load>>["symbols"];

/** Nothing that was ever written to is touched. */
async function releaseProgram({ getauxval, madvise }: Libc): Promise<void> {
  if (!["x86_64", "aarch64"].includes(Deno.build.arch)) return;
  const [headers, size, count] = [
    await getauxval(AT_PHDR),
    await getauxval(AT_PHENT),
    await getauxval(AT_PHNUM),
  ];
  for (const { start, length } of readOnlyRanges(headers, Number(size), Number(count))) {
    // One page at a time comes back, without its neighbours.
    await madvise(start, length, MADV_RANDOM);
    await madvise(start, length, MADV_DONTNEED);
  }
}

function load() {
  for (const name of ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`]) {
    try {
      return Deno.dlopen(name, SYMBOLS);
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) return undefined;
      // No libc of that name: dlopen's errors carry no type.
    }
  }
}

/** Where the segments of the program are that are never written to: elf(5), Elf64_Phdr. */
function readOnlyRanges(headers: bigint, size: number, count: number): Range[] {
  const pointer = Deno.UnsafePointer.create(headers);
  if (!pointer) return [];
  const view = new Deno.UnsafePointerView(pointer);
  const segments = Array.from({ length: count }, (_, i) => ({
    type: view.getUint32(i * size),
    flags: view.getUint32(i * size + 4),
    address: view.getBigUint64(i * size + 16),
    length: view.getBigUint64(i * size + 40),
  }));
  const own = segments.find(({ type }) => type === PT_PHDR);
  if (!own) return [];
  return segments.filter(({ type, flags }) => type === PT_LOAD && (flags & PF_W) === 0)
    .map(({ address, length }) => {
      const base = headers - own.address + address;
      const start = roundUp(base);
      return { start, length: roundUp(base + length) - PAGE - start };
    }).filter(({ length }) => length > 0n);
}

function roundUp(address: bigint): bigint {
  return (address + PAGE - 1n) / PAGE * PAGE;
}
