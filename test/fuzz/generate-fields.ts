/** Fields for generated frames. */
import { type Fields, request } from '../support/h2-frames.ts';
import type { FrameState } from './frame-state.ts';

/** The method of requests that are answered at once, by a head that ends the stream. */
export const ANSWERED = 'PUT';

const MORE_FIELDS: [string, string][] = [
  ['x-a', 'b'],
  ['te', 'trailers'],
  ['te', 'gzip'],
  ['content-length', 'x'],
  ['content-length', ''],
  ['connection', 'close'],
  ['host', 'b'],
  ['host', ''],
  [':path', '/b'],
  [':status', '200'],
  [':protocol', 'websocket'],
  ['transfer-encoding', 'chunked'],
  ['upgrade', 'a'],
  ['x', ''],
  ['cookie', 'a=b'],
];
const VALUES_OF_PSEUDO = [
  '',
  'CONNECT',
  'https',
  '*',
  '/x y',
  'x',
  'OPTIONS',
  '//',
  'a:1',
  'u@h',
  'G T',
  'HEAD',
];

export function someRequest({ random, isWild }: FrameState): Fields {
  const method = random.pick(['GET', 'POST', ANSWERED]);
  const fields = request([], { method }).map(([name, value]): [string, string] => [name, value]);
  if (random.oneIn(3)) fields.push([...random.pick(isWild ? MORE_FIELDS : MORE_FIELDS.slice(0, 2))]);
  if (!isWild) return fields;
  if (random.oneIn(3)) fields.splice(random.below(fields.length), 1);
  if (random.oneIn(3)) fields.unshift([...random.pick(MORE_FIELDS)]);
  const changed = fields[random.below(fields.length)];
  if (changed !== undefined && random.oneIn(3)) changed[1] = random.pick(VALUES_OF_PSEUDO);
  return fields;
}

export function someTrailers({ random, isWild }: FrameState): Fields {
  const good: Fields[] = [
    [['x-sum', '1']],
    [],
    [
      ['x', 'y'],
      ['te', 'trailers'],
    ],
  ];
  const bad: Fields[] = [
    [[':path', '/']],
    [['connection', 'x']],
    [['content-length', '3']],
    [
      ['x', 'y'],
      [':status', '200'],
    ],
  ];
  return random.pick(isWild ? bad : good);
}

/** Bodies where none may be, in a 204 or 304, are found by those who read them. */
const STATUSES = ['200', '404', '999'];
const BAD_STATUSES = ['', '20', '2000', '101', '1000', 'abc', '+20', '200 '];

export function someAnswer({ random, isWild }: FrameState, isInterim: boolean): Fields {
  const status = isInterim ? random.pick(['100', '102', '103', '199']) : random.pick(STATUSES);
  const fields: [string, string][] = [[':status', status]];
  if (random.oneIn(3)) fields.push(isWild ? [...random.pick(MORE_FIELDS)] : ['x-a', 'b']);
  if (!isWild) return fields;
  if (random.oneIn(3)) fields[0] = [':status', random.pick(BAD_STATUSES)];
  if (random.oneIn(5)) fields.shift();
  if (random.oneIn(5)) fields.unshift([...random.pick(MORE_FIELDS)]);
  if (random.oneIn(8)) fields.push([':status', '200']);
  return fields;
}
