/** The menu of our guest, from the host's side: see guest/main.c. */
import type { BootRequest, Chunk, Engine, Session, Unrelated } from "./engines/engine.ts";

export interface GuestTest {
  readonly name: string;
  readonly unit: string;
  /** Operations of one iteration. */
  readonly operations: number;
}

/** One run of a test, between its two marks. */
export interface Interval {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly retired: number | undefined;
  readonly checksum: string;
}

const ANSWER_END = /^(?:ready|ok)\n/m;

export class GuestError extends Error {}

/** One mark of a chunk: where it came in the text so far, and the clocks then. */
interface Mark {
  readonly end: number;
  readonly chunk: Chunk;
}

export class GuestSession {
  private readonly session: Session;
  private text = "";
  private marks: Mark[] = [];
  private failure: Error | undefined;
  private wake: () => void = () => {};

  private constructor(engine: Engine, boot: BootRequest) {
    this.session = engine.start(boot);
    this.session.onChunk((chunk) => {
      this.text += chunk.text;
      this.marks.push({ end: this.text.length, chunk });
      this.wake();
    });
    this.session.onEnd((complaint) => {
      this.failure = new GuestError(`${engine.name} ended: ${complaint.trim().slice(-500) || "no reason given"}`);
      this.wake();
    });
  }

  static async start(engine: Engine, boot: BootRequest): Promise<GuestSession> {
    const session = new GuestSession(engine, boot);
    try {
      await session.answer(60_000);
    } catch (error) {
      await session.close();
      throw error;
    }
    return session;
  }

  private async answer(timeoutMs: number): Promise<string> {
    const deadline = performance.now() + timeoutMs;
    while (!ANSWER_END.test(this.text)) {
      if (this.failure) throw this.failure;
      const left = deadline - performance.now();
      if (left <= 0) throw new GuestError(`no answer within ${timeoutMs / 1000} s, only ${JSON.stringify(this.text)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.text;
  }

  private ask(line: string, timeoutMs: number): Promise<string> {
    this.text = "";
    this.marks = [];
    this.session.send(`${line}\n`);
    return this.answer(timeoutMs);
  }

  async list(): Promise<GuestTest[]> {
    const answer = await this.ask("list", 30_000);
    return [...answer.matchAll(/^test (\S+) (\d+) (\S+)$/gm)].map(([, name, operations, unit]) => ({
      name: name!,
      unit: unit!,
      operations: Number(operations),
    }));
  }

  /** Undefined: the machine lacks what the test needs. */
  async run(test: string, iterations: number, timeoutMs: number): Promise<Interval | undefined> {
    const answer = await this.ask(`${test} ${iterations}`, timeoutMs);
    if (/^skip /m.test(answer)) return undefined;
    const begin = answer.indexOf("begin\n");
    const end = /^end ([0-9a-f]{8})$/m.exec(answer);
    if (begin < 0 || end === null) throw new GuestError(`${test}: unexpected answer ${JSON.stringify(answer)}`);
    const from = this.chunkAt(begin + "begin\n".length - 1);
    const to = this.chunkAt(end.index);
    return {
      wallMs: to.wallMs - from.wallMs,
      cpuMs: to.cpuMs - from.cpuMs,
      retired: to.retired !== undefined && from.retired !== undefined ? to.retired - from.retired : undefined,
      checksum: end[1]!,
    };
  }

  /** See `Session.burden`. */
  burden(unrelated: Unrelated): void {
    this.session.burden?.(unrelated);
  }

  /** The chunk that brought the character at `offset`. */
  private chunkAt(offset: number): Chunk {
    return this.marks.find((mark) => mark.end > offset)!.chunk;
  }

  close(): Promise<void> {
    return this.session.close();
  }
}
