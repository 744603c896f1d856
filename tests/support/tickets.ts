/** A file of Kerberos tickets, as kinit(1) writes it (version 4). */

export interface CachedTicket {
  readonly user: string;
  /** Its parts are separated by slashes. */
  readonly service: string;
  /** Of the login, the start, the end and the last renewal, s since the epoch. */
  readonly times: readonly number[];
}

/** Returns the file for these tickets, all of which are the first one's user's. */
export function cacheOf(tickets: readonly CachedTicket[]): Uint8Array {
  const bytes: number[] = [0x05, 0x04, 0, 0];
  const uint32 = (value: number) =>
    bytes.push(value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255);
  const data = (text: string) => {
    uint32(text.length);
    bytes.push(...new TextEncoder().encode(text));
  };
  const principal = (name: string) => {
    const parts = name.split("/");
    uint32(1);
    uint32(parts.length);
    ["R", ...parts].forEach(data);
  };
  principal(tickets[0].user);
  for (const { user, service, times } of tickets) {
    principal(user);
    principal(service);
    bytes.push(0, 18);
    data("key");
    times.forEach(uint32);
    bytes.push(0);
    for (const value of [0x40e00000, 0, 0]) uint32(value);
    data("ticket");
    data("");
  }
  return new Uint8Array(bytes);
}
