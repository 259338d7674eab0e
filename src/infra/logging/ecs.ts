/** `log.format: ecs`: lines of the application log with the names of the Elastic Common Schema. */
import { pino } from 'pino';

/** The version of the schema whose names are used. */
export const ECS_VERSION = '8.17.0';

/** Facts that the schema has a name for; all others are below `sluice`, so that none has a name of the schema with another type. */
const NAMES: Readonly<Record<string, string>> = {
  pid: 'process.pid',
  requestId: 'http.request.id',
  peer: 'client.address',
};

/**
 * ecsLine makes a line of another one of the application log. The official formatter for pino is not used: it is chosen when a logger is
 * made, and a reload changes the format of loggers that are there.
 */
export function ecsLine(line: string): string {
  const { level, time, msg, err, ...facts } = JSON.parse(line) as Record<string, unknown>;
  const event: Record<string, unknown> = {
    '@timestamp': time,
    'log.level': pino.levels.labels[Number(level)],
    message: msg ?? '',
    'ecs.version': ECS_VERSION,
    'service.name': 'sluice',
    'event.dataset': 'sluice.log',
  };
  const others = Object.entries(facts).filter(([name]) => NAMES[name] === undefined);
  for (const [name, named] of Object.entries(NAMES)) if (name in facts) event[named] = facts[name];
  Object.assign(event, errorFields(err));
  if (others.length > 0) event.sluice = Object.fromEntries(others);
  return `${JSON.stringify(event)}\n`;
}

function errorFields(err: unknown): object {
  if (typeof err !== 'object' || err === null) return {};
  const { type, message, stack, code, ...more } = err as Record<string, unknown>;
  const fields = {
    'error.type': type,
    'error.message': message,
    'error.stack_trace': stack,
    'error.code': code,
  };
  return Object.keys(more).length === 0 ? fields : { ...fields, 'sluice.error': more };
}
