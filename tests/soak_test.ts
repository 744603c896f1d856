import { soak } from "./soak.ts";

const CALLS = Number(Deno.env.get("SSHS_SOAK_CALLS") ?? 60);

Deno.test(`${CALLS} calls get the right answer while others are killed, and nothing is left`, async () => {
  await soak(CALLS);
});
