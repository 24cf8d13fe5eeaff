/** Bytes to lines, whatever the bytes: nothing is held but the line that is not finished, and of a long one nothing. */

/** Longer than any line of a trace; what goes beyond it is no text. */
const LONGEST_LINE = 4096;

export class LineSplitter {
  /** Lines given up because of their length. */
  overlong = 0;
  private rest = "";
  private skipping = false;
  private readonly decoder = new TextDecoder("latin1");

  *push(bytes: Uint8Array): Generator<string> {
    const text = this.decoder.decode(bytes, { stream: true });
    let start = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", start)) {
      const line = this.rest + text.slice(start, end);
      this.rest = "";
      start = end + 1;
      if (this.skipping) this.skipping = false;
      else if (line.length > LONGEST_LINE) this.overlong++;
      else yield line;
    }
    if (this.skipping) return;
    this.rest += text.slice(start);
    if (this.rest.length <= LONGEST_LINE) return;
    this.rest = "";
    this.skipping = true;
    this.overlong++;
  }

  /** A last line without an end. */
  *end(): Generator<string> {
    if (this.rest !== "" && !this.skipping) yield this.rest;
    this.rest = "";
  }
}
