/** `log.format: pretty`: one line per event, for people; application and access lines look alike. */
import { isatty } from 'node:tty';
import { styleText } from 'node:util';
import { pino } from 'pino';

type Fields = Record<string, unknown>;

const STDOUT_FD = 1;
const INFO = 30;
const PLAIN_VALUE = /^[^\s\p{Cc}"=]+$/u;
const LEVEL_COLOURS = {
  trace: 'gray',
  debug: 'blue',
  info: 'green',
  warn: 'yellow',
  error: 'red',
  fatal: 'bgRed',
} as const;

/** prettyLine turns a JSON line of either log into a line for people. @param toStdout it may go to a terminal, which has colours */
export function prettyLine(line: string, toStdout: boolean): string {
  // Not process.stdout.isTTY: the first use of process.stdout changes how others write to the descriptor.
  const coloured = toStdout && isatty(STDOUT_FD) ? inColour : plain;
  const parsed = JSON.parse(line) as Fields;
  const event = 'level' in parsed ? parsed : accessEvent(parsed);
  const { level, time, msg, pid: _, ...facts } = event;
  const name = pino.levels.labels[Number(level)] as keyof typeof LEVEL_COLOURS;
  const shown = Object.entries(facts).map(([key, value]) => ` ${key}=${textOf(value)}`);
  // A control character from outside must neither break the line nor steer the terminal.
  const message = coloured('cyan', `${msg}${shown.join('')}`.replaceAll(/\p{Cc}/gu, ' '));
  return `[${clockOf(String(time))}] ${coloured(LEVEL_COLOURS[name], name.toUpperCase())}: ${message}\n`;
}

/** Hours to milliseconds in the time zone of this process. */
function clockOf(time: string): string {
  const date = new Date(time);
  return `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

function inColour(colour: Parameters<typeof styleText>[0], text: string): string {
  return styleText(colour, text, { validateStream: false });
}

function plain(_colour: unknown, text: string): string {
  return text;
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

/** An access line in the form of an application line. */
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
