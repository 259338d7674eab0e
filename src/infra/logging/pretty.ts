/** `log.format: pretty`: one line per event for people, application and access lines in the same shape. */
import { createRequire } from 'node:module';
import { isatty } from 'node:tty';

type Fields = Record<string, unknown>;

const STDOUT_FD = 1;
const INFO = 30;
/** What stands elsewhere in the line, or says nothing to a person. */
const OMITTED: ReadonlySet<string> = new Set(['level', 'time', 'msg', 'pid']);
const PLAIN_VALUE = /^[^\s"=]+$/;

export interface PrettyLines {
  /** application turns a line of the application log (JSON) into one for people. */
  application: (line: string) => string;
  /** access does the same with an access line. */
  access: (line: string) => string;
}

/** prettyLines loads what only this format needs: a few MiB. For the makers of the two logs. */
export function prettyLines(): PrettyLines {
  const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty');
  const application = prettyFactory({
    colorize: isatty(STDOUT_FD),
    translateTime: 'SYS:HH:MM:ss.l',
    hideObject: true,
    ignore: 'pid',
    messageFormat: (log) => messageOf(log),
  });
  return { application, access: (line) => application(accessEvent(JSON.parse(line) as Fields)) };
}

function messageOf(log: Fields): string {
  const facts = Object.entries(log)
    .filter(([key]) => !OMITTED.has(key))
    .map(([key, value]) => ` ${key}=${textOf(value)}`);
  return `${String(log.msg)}${facts.join('')}`;
}

function textOf(value: unknown): string {
  // The stack of an unexpected error begins with its type and message.
  if (isFields(value) && typeof value.message === 'string') {
    return JSON.stringify(String(value.stack ?? value.message).replaceAll(/\n\s*/g, ' | '));
  }
  if (typeof value === 'string') return PLAIN_VALUE.test(value) ? value : JSON.stringify(value);
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
    ? value.join(',')
    : JSON.stringify(value);
}

/** The event that an access line tells, as the application log would have told it. */
function accessEvent({ time, method, host, path, status, reason, totalMs, ...others }: Fields): Fields {
  const { clientIp, clientId, backend, route, policies, requestId } = others;
  const known = Object.entries({ reason, clientIp, clientId, backend, route, policies, requestId });
  return {
    level: INFO,
    time,
    msg: `${method ?? '-'} ${host ?? ''}${path ?? ''} ${status} ${totalMs}ms`,
    ...Object.fromEntries(known.filter(([, value]) => value !== null)),
  };
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null;
}
