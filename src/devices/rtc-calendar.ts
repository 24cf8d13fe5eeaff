/**
 * The time registers of an MC146818 as numbers and back: BCD or binary, 12 or 24 hours, and the calendar.
 * Motorola MC146818 data sheet, table 3 (time, calendar and alarm data modes).
 */

/** A point in time as the registers hold it. `weekday` 1..7 is counted along but not derived from the date. */
export interface CalendarTime {
  /** Days since 1970-01-01 in the Gregorian calendar. */
  readonly day: number;
  readonly secondOfDay: number;
  readonly weekday: number;
}

/** The two format bits of register B. */
export interface CalendarFormat {
  readonly binary: boolean;
  readonly hours24: boolean;
}

/** Addresses of the time registers. The century has none of its own in the MC146818: 32h is what PCs agreed on. */
export const TIME_REGISTER = {
  seconds: 0x00,
  minutes: 0x02,
  hours: 0x04,
  weekday: 0x06,
  day: 0x07,
  month: 0x08,
  year: 0x09,
  century: 0x32,
} as const;
export const ALARM_REGISTER = { seconds: 0x01, minutes: 0x03, hours: 0x05 } as const;

export const SECONDS_PER_DAY = 86_400;
const PM = 0x80;
const CODES_60 = Array.from({ length: 60 }, (_, value) => value);
/** An alarm byte of C0h..FFh matches everything. */
const DONT_CARE = 0xc0;

export function decodeTime(cmos: Uint8Array, format: CalendarFormat): CalendarTime {
  const number = (register: number) => decode(cmos[register], format);
  const year = number(TIME_REGISTER.century) * 100 + number(TIME_REGISTER.year);
  return {
    day: dayNumber(year, number(TIME_REGISTER.month), number(TIME_REGISTER.day)),
    secondOfDay:
      decodeHour(cmos[TIME_REGISTER.hours], format) * 3600 +
      number(TIME_REGISTER.minutes) * 60 +
      number(TIME_REGISTER.seconds),
    weekday: number(TIME_REGISTER.weekday),
  };
}

/** `seconds` later. A weekday out of range starts over with what it is modulo 7. */
export function advance(time: CalendarTime, seconds: number): CalendarTime {
  const total = time.secondOfDay + seconds;
  const days = Math.floor(total / SECONDS_PER_DAY);
  return {
    day: time.day + days,
    secondOfDay: total - days * SECONDS_PER_DAY,
    weekday: ((time.weekday + 6 + days) % 7) + 1,
  };
}

export function encodeTime(cmos: Uint8Array, time: CalendarTime, format: CalendarFormat): void {
  const { year, month, day } = civilDate(time.day);
  const put = (register: number, value: number) => {
    cmos[register] = encode(value, format);
  };
  put(TIME_REGISTER.seconds, time.secondOfDay % 60);
  put(TIME_REGISTER.minutes, Math.floor(time.secondOfDay / 60) % 60);
  cmos[TIME_REGISTER.hours] = encodeHour(Math.floor(time.secondOfDay / 3600), format);
  put(TIME_REGISTER.weekday, time.weekday);
  put(TIME_REGISTER.day, day);
  put(TIME_REGISTER.month, month);
  put(TIME_REGISTER.year, year % 100);
  put(TIME_REGISTER.century, Math.floor(year / 100) % 100);
}

/** Seconds from `secondOfDay` (not included) to the next one that the alarm bytes match; `Infinity` if none does. */
export function secondsToAlarm(cmos: Uint8Array, secondOfDay: number, format: CalendarFormat): number {
  const start = (secondOfDay + 1) % SECONDS_PER_DAY;
  const matches = (register: number, code: number) => cmos[register] >= DONT_CARE || cmos[register] === code;
  // Bytes that are no time would otherwise make a search through the whole day.
  const anyOf = (register: number) => CODES_60.some((value) => matches(register, encode(value, format)));
  if (!anyOf(ALARM_REGISTER.seconds) || !anyOf(ALARM_REGISTER.minutes)) return Number.POSITIVE_INFINITY;
  for (let passed = 0, hour = Math.floor(start / 3600); passed <= 24; passed++, hour = (hour + 1) % 24) {
    if (!matches(ALARM_REGISTER.hours, encodeHour(hour, format))) continue;
    const from = passed === 0 ? start % 3600 : 0;
    for (let minute = Math.floor(from / 60); minute < 60; minute++) {
      if (!matches(ALARM_REGISTER.minutes, encode(minute, format))) continue;
      const first = minute * 60 < from ? from % 60 : 0;
      for (let second = first; second < 60; second++) {
        if (!matches(ALARM_REGISTER.seconds, encode(second, format))) continue;
        const found = hour * 3600 + minute * 60 + second;
        return ((found - start + SECONDS_PER_DAY) % SECONDS_PER_DAY) + 1;
      }
    }
  }
  return Number.POSITIVE_INFINITY;
}

function decode(byte: number, format: CalendarFormat): number {
  return format.binary ? byte : (byte >> 4) * 10 + (byte & 15);
}

function encode(value: number, format: CalendarFormat): number {
  return format.binary ? value : (Math.floor(value / 10) << 4) | (value % 10);
}

function decodeHour(byte: number, format: CalendarFormat): number {
  if (format.hours24) return decode(byte, format);
  return (decode(byte & ~PM, format) % 12) + (byte & PM ? 12 : 0);
}

function encodeHour(hour: number, format: CalendarFormat): number {
  if (format.hours24) return encode(hour, format);
  return encode(hour % 12 || 12, format) | (hour >= 12 ? PM : 0);
}

/** Days since 1970-01-01. A month or day out of range counts on from the valid ones. Years start in March here. */
function dayNumber(year: number, month: number, day: number): number {
  const fromMarch = year * 12 + month - 3;
  const y = Math.floor(fromMarch / 12);
  const m = fromMarch - y * 12;
  const leapDays = Math.floor(y / 4) - Math.floor(y / 100) + Math.floor(y / 400);
  return 365 * y + leapDays + Math.floor((153 * m + 2) / 5) + day - 1 - DAYS_TO_1970;
}

/** From 0000-03-01 to 1970-01-01. */
const DAYS_TO_1970 = 719_468;
const DAYS_PER_400_YEARS = 146_097;

function civilDate(dayNumber: number): { year: number; month: number; day: number } {
  const days = dayNumber + DAYS_TO_1970;
  const era = Math.floor(days / DAYS_PER_400_YEARS);
  const dayOfEra = days - era * DAYS_PER_400_YEARS;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const m = Math.floor((5 * dayOfYear + 2) / 153);
  return {
    year: era * 400 + yearOfEra + (m >= 10 ? 1 : 0),
    month: m >= 10 ? m - 9 : m + 3,
    day: dayOfYear - Math.floor((153 * m + 2) / 5) + 1,
  };
}
