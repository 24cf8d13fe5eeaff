/**
 * The hostile tests at length, by hand:
 *
 *   npx tsx test/machine/hostile-campaign.ts storm INSTRUCTIONS [FIRST_SEED]
 *   npx tsx test/machine/hostile-campaign.ts chaos EPISODES [FIRST_SEED]
 */

import { chaos } from "./hostile-chaos.ts";
import { storm } from "./hostile-storm.ts";

const STORM_PART = 20_000_000;
const CHAOS_PART = 100;

async function main(kind: string | undefined, total: number, firstSeed: number): Promise<void> {
  let [done, retired] = [0, 0];
  for (let seed = firstSeed; done < total; seed++) {
    if (kind === "storm") {
      // By turns: with copies through snapshots, and with every access on the short way.
      const result = await storm({ seed, instructions: STORM_PART, snapshots: seed % 2 === 0 });
      done = retired += result.retired;
      console.log(JSON.stringify({ seed, ...result }));
    } else {
      const result = await chaos({ seed, episodes: CHAOS_PART });
      done += CHAOS_PART;
      retired += result.retired;
      console.log(JSON.stringify({ seed, ...result }));
    }
  }
  console.log(`${retired} instructions`);
}

const [kind, total, firstSeed = "1"] = process.argv.slice(2);
await main(kind, Number(total), Number(firstSeed));
