/** The time as text, made once per second or millisecond instead of per request. */
import { systemClock } from '../contract/clock.ts';

const SECOND_MS = 1000;

/** DateCache belongs to a worker; the responder asks for `Date`, the access log for ISO 8601. */
export class DateCache {
  #second = Number.NaN;
  #imfDate = '';
  #isoPrefix = '';
  #isoMs = Number.NaN;
  #isoTime = '';

  /** imfDate is the value of `Date` (RFC 9110 §5.6.7). */
  imfDate(): string {
    this.#renew(systemClock.wallMs());
    return this.#imfDate;
  }

  /** isoTime is UTC with milliseconds. */
  isoTime(): string {
    const nowMs = Math.floor(systemClock.wallMs());
    if (nowMs === this.#isoMs) return this.#isoTime;
    this.#renew(nowMs);
    this.#isoMs = nowMs;
    this.#isoTime = `${this.#isoPrefix}.${String(nowMs - this.#second * SECOND_MS).padStart(3, '0')}Z`;
    return this.#isoTime;
  }

  #renew(nowMs: number): void {
    const second = Math.floor(nowMs / SECOND_MS);
    if (second === this.#second) return;
    this.#second = second;
    const date = new Date(second * SECOND_MS);
    this.#imfDate = date.toUTCString();
    this.#isoPrefix = date.toISOString().slice(0, -'.000Z'.length);
  }
}
