/** Numbers, times and sizes in the form in which the pages show them. A dash stands for no value. */
const NONE = '–';

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const exact = new Intl.NumberFormat('en', { maximumSignificantDigits: 6 });

type Maybe = number | null | undefined;

/** countOf: 12,345 */
export function countOf(value: Maybe): string {
  return value == null ? NONE : whole.format(value);
}

/** rateOf: per second; small rates keep a digit. */
export function rateOf(value: Maybe): string {
  if (value == null) return NONE;
  if (value === 0) return '0';
  if (value < 0.05) return '< 0.1';
  return value < 100 ? tenths.format(value) : whole.format(value);
}

/** numberOf: as it was configured. */
export function numberOf(value: Maybe): string {
  return value == null ? NONE : exact.format(value);
}

/** msOf: 0 ms, 0.42 ms, 1,500 ms, 12.0 s */
export function msOf(value: Maybe): string {
  if (value == null) return NONE;
  if (value >= 10_000) return `${tenths.format(value / 1_000)} s`;
  if (value >= 10 || value === 0) return `${whole.format(value)} ms`;
  return `${value.toFixed(value < 1 ? 2 : 1)} ms`;
}

/** percentOf takes a ratio. */
export function percentOf(ratio: Maybe): string {
  if (ratio == null) return NONE;
  const percent = ratio * 100;
  return `${percent > 0 && percent < 10 ? percent.toFixed(1) : whole.format(percent)} %`;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytesOf(value: Maybe): string {
  if (value == null) return NONE;
  let [size, unit] = [value, 0];
  for (; size >= 1_024 && unit < UNITS.length - 1; unit++) size /= 1_024;
  return `${size < 10 && unit > 0 ? size.toFixed(1) : whole.format(size)} ${UNITS[unit]}`;
}

/** spanOf: 45 s, 12 min, 3 h 20 min, 5 d 2 h */
export function spanOf(sec: Maybe): string {
  if (sec == null) return NONE;
  const seconds = Math.max(0, Math.floor(sec));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} min`;
  return hours < 24 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** spanSince: until now. @param at an ISO time */
export function spanSince(at: string): string {
  return spanOf((Date.now() - Date.parse(at)) / 1_000);
}

/** agoOf: 12 min ago; of an ISO time. */
export function agoOf(at: string | null | undefined): string {
  return at == null ? NONE : `${spanSince(at)} ago`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const day = new Intl.DateTimeFormat('en-CA', { year: 'numeric', month: '2-digit', day: '2-digit' });

/** clockOf: 14:03:07; of a time of today, and with the day of any other. */
export function clockOf(at: string | number): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return NONE;
  const time = clock.format(date);
  return date.toDateString() === new Date().toDateString() ? time : `${day.format(date)} ${time}`;
}

/** dayOf: 2026-12-01 */
export function dayOf(at: string): string {
  return day.format(new Date(at));
}

/** lateWorkers goes on with a sentence about what workers should have; null: all of them have it. */
export function lateWorkers(ids: readonly number[] = []): string | null {
  if (ids.length === 0) return null;
  const who = ids.length === 1 ? 'worker' : 'workers';
  return `, but not in ${who} ${ids.join(', ')} yet.`;
}
