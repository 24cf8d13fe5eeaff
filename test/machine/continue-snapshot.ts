/** A process of its own that goes on from a snapshot: FILE END [TEXT TO TYPE]. Prints what it came to as JSON. */

import { readFileSync } from "node:fs";
import { createMachine } from "../../src/machine/machine.ts";
import { decodeSnapshot } from "../../src/machine/snapshot.ts";
import { guestOf } from "./guests.ts";

const [file, end, text] = process.argv.slice(2);
const snapshot = decodeSnapshot(readFileSync(file!));
const guest = guestOf(createMachine({ memoryMiB: snapshot.memory.ramBytes / 2 ** 20, clock: snapshot.clockMode }));
guest.machine.restore(snapshot);
if (text) guest.type(text);
guest.machine.runUntil(Number(end));
console.log(JSON.stringify({ hash: await guest.machine.stateHash(), said: guest.said() }));
guest.machine.dispose();
