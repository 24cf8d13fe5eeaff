/** What programs give, against what the types ask for: JavaScript passes anything. */

import { PorticoError } from "./errors.ts";

/** What a value has to be, in words and as a test. */
export interface Rule {
  readonly wanted: string;
  holds(value: unknown): boolean;
}

export const number: Rule = { wanted: "a number", holds: (value) => typeof value === "number" };
export const bigint: Rule = { wanted: "a bigint", holds: (value) => typeof value === "bigint" };
export const boolean: Rule = { wanted: "true or false", holds: (value) => typeof value === "boolean" };
export const text: Rule = { wanted: "a string", holds: (value) => typeof value === "string" };
export const callback: Rule = { wanted: "a function", holds: (value) => typeof value === "function" };
/** Also one from another realm. */
export const bytes: Rule = {
  wanted: "a Uint8Array",
  holds: (value) => Object.prototype.toString.call(value) === "[object Uint8Array]",
};
export const notNaN: Rule = { wanted: "a number", holds: (value) => typeof value === "number" && !Number.isNaN(value) };
export const wholeNumber: Rule = { wanted: "a whole number", holds: Number.isSafeInteger };
export const linearAddress: Rule = {
  wanted: "an address, a whole number or a bigint",
  holds: (value) => Number.isInteger(value) || typeof value === "bigint",
};

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;

export function object(wanted: string): Rule {
  return { wanted, holds: (value) => isObject(value) && !Array.isArray(value) };
}

export function array(ofWhat: string): Rule {
  return { wanted: `an array of ${ofWhat}`, holds: Array.isArray };
}

export function optional({ wanted, holds }: Rule): Rule {
  return { wanted: `${wanted}, or nothing`, holds: (value) => value === undefined || holds(value) };
}

export function whole(least: number, most = Number.MAX_SAFE_INTEGER): Rule {
  const to = most === Number.MAX_SAFE_INTEGER ? "up" : `to ${most}`;
  const holds = (value: unknown) =>
    Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
  return { wanted: `a whole number from ${least} ${to}`, holds };
}

export function oneOf(values: readonly string[]): Rule {
  return {
    wanted: values.map((value) => `"${value}"`).join(" or "),
    holds: (value) => values.includes(value as string),
  };
}

/** Throws `PorticoError` `ARGUMENT`. `name` says what the value is for, as in "the image of boot()". */
export function checkArgument(name: string, value: unknown, { wanted, holds }: Rule): void {
  if (!holds(value)) throw new PorticoError("ARGUMENT", `${name} is ${describe(value)}: give ${wanted}`);
}

/** The members that rules are for; of an object that may have others. Throws as `checkArgument`. */
export function checkMembers(name: string, value: unknown, rules: Readonly<Record<string, Rule>>): void {
  const members = Object.keys(rules).join(", ");
  checkArgument(name, value, object(`an object, of { ${members} }`));
  for (const [member, rule] of Object.entries(rules)) {
    checkArgument(`'${member}' of ${name}`, (value as Record<string, unknown>)[member], rule);
  }
}

/** What a value is, for a message. */
export function describe(value: unknown): string {
  if (typeof value === "string") return `'${value}'`;
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return "an array";
  if (isObject(value)) return `an object (${Object.getPrototypeOf(value)?.constructor?.name ?? "without a class"})`;
  return typeof value === "bigint" ? `${value}n` : String(value);
}
