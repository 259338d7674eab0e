/** What the log, the events and the admin port say of an error of Redis: its text is the peer's, which may repeat what it was sent. */
import { systemCodeOf } from '../../contract/errors.ts';
import { shortText } from '../../contract/json-text.ts';
import type { RedisServers } from '../../contract/settings.ts';

/** What ioredis says where it knows no reason. */
const NO_REASON = /^(?:Connection is closed|All sentinels are unreachable)\.$/;

/** RedisFailures belongs to a RedisConnection. */
export class RedisFailures {
  /** The longest first: one may be part of another. */
  readonly #secrets: readonly string[];
  #nodeError: Error | null = null;

  constructor(servers: RedisServers) {
    this.#secrets = secretsOf(servers).sort((a, b) => b.length - a.length);
  }

  /** noteNode takes what ioredis tells of one node or sentinel; null: it is of the past. */
  noteNode(error: Error | null): void {
    if (error === null || !error.message.endsWith('Connection is closed.')) this.#nodeError = error;
  }

  /**
   * tellable is an error that may be shown, without user, password and arguments, in one line of at most 200 characters. It is the
   * same at each attempt that fails in the same way.
   */
  tellable(error: Error & { lastNodeError?: unknown }): Error {
    let told = error.lastNodeError instanceof Error ? error.lastNodeError : error;
    let text = withoutAttempt(textOf(told));
    if (NO_REASON.test(text) && this.#nodeError !== null) {
      told = this.#nodeError;
      text = textOf(told);
    }
    // Texts of the system hold no more than host and port, which may be the same words.
    if (!('syscall' in told)) text = this.#hide(text.replace(/,? with args\b.*/is, ''));
    text = shortText(text);
    const code = systemCodeOf(told);
    // A new one: ioredis adds the refused command, and pieces of replies.
    const { name } = told;
    return Object.assign(new Error(text), { name, stack: `${name}: ${text}`, ...(code && { code }) });
  }

  #hide(text: string): string {
    return this.#secrets.reduce((hidden, secret) => hidden.replaceAll(secret, '***'), text);
  }
}

/** An AggregateError (one host name, several addresses) has an empty message. */
function textOf(error: Error): string {
  return error.message || systemCodeOf(error) || error.name;
}

/** The pause until the next attempt is another one each time. */
function withoutAttempt(text: string): string {
  return text
    .replace(/^All sentinels are unreachable\b.*? Last error: /, '')
    .replace(/ Retrying from scratch after \S*ms\./, '');
}

/** Users and passwords, as they stand in the URLs and as they are sent. */
function secretsOf(servers: RedisServers): string[] {
  const urls = servers.kind === 'single' ? [servers.url] : servers.urls;
  const written = urls.map((url) => new URL(url)).flatMap(({ username, password }) => [username, password]);
  return written.filter((each) => each !== '').flatMap((each) => [each, decodeURIComponent(each)]);
}
