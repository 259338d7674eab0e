/** Whatever stands in an answer of a backend, a client reads exactly the fields that were meant, or a 502 (CWE-113). */
import { test } from 'node:test';
import { ok, startCapturingBackend } from '../proxy/capturing-backend.ts';
import { pool, startProxy } from '../proxy/support.ts';
import { startFrameBackend } from '../support/h2-backends.ts';
import { type Fields, headers, TYPES } from '../support/h2-frames.ts';
import { exchangeRaw } from '../support/raw-http.ts';
import type { CaseResult } from './campaign.ts';
import { hostile, isFieldValue, trimmed, type Wanted } from './hostile-fields.ts';
import { answerFaults, LANES, OURS, proves, take } from './injection.ts';
import type { Random } from './random.ts';

const name = 'injected-answers';
const ANSWER_PLACES = [
  'x-own',
  'server',
  'set-cookie',
  'location',
  'via',
  'x-request-id',
  'content-type',
  'retry-after',
  'allow',
];

let cases = 0;

test('a field, a reason or a trailer of a backend reaches the client as it is, or the answer is 502', async (t) => {
  const answers = new Map<string, string>();
  const backend = await startCapturingBackend(
    t,
    (seen) => answers.get(seen.header('x-case') ?? '') ?? ok(''),
  );
  const proxy = await startProxy(t, { backends: [backend] });

  async function run(random: Random): Promise<CaseResult> {
    const [id, said] = [String(++cases), hostile(random).replace(/\r+(?=\n)/g, '')];
    const place = random.pick(['reason', 'trailer', ...ANSWER_PLACES]);
    const head = `HTTP/1.1 200 ${place === 'reason' ? said : 'OK'}\r\n`;
    const field = ANSWER_PLACES.includes(place) ? `${place}: ${said}\r\n` : '';
    const body =
      place === 'trailer' ? 'Transfer-Encoding: chunked\r\n\r\n0\r\nX-Own: ' : 'Content-Length: 0\r\n\r\n';
    answers.set(id, `${head}${field}X-Last: end\r\n${body}${place === 'trailer' ? `${said}\r\n\r\n` : ''}`);
    const text = `GET /x HTTP/1.1\r\nHost: a\r\nX-Case: ${id}\r\n\r\n`;
    const answer = await exchangeRaw({ port: proxy.port }, text).catch((error: Error) => error);
    answers.delete(id);
    const { faults } = take(backend, Number(id));
    // An answer that turns out to be wrong after its head was sent is cut.
    if (answer instanceof Error)
      return {
        classes: ['answer cut'],
        failures: place === 'trailer' ? faults : [...faults, answer.message],
      };
    faults.push(...answerFaults(answer, answer.status === 200 ? wantedOf(place, said) : {}));
    // A reason that may not be is left out: nobody reads it (RFC 9112 §4).
    const isKept = place !== 'reason' || answer.reason !== '';
    if (answer.status === 200 && isKept && !isFieldValue(said))
      faults.push('a value that is none was passed on');
    if (place === 'reason' && answer.status === 200 && !['', trimmed(said)].includes(trimmed(answer.reason)))
      faults.push(`another reason: ${answer.reason}`);
    for (const [name, value] of answer.trailers)
      if (name.toLowerCase() !== 'x-own' || value !== trimmed(said))
        faults.push(`a trailer ${name}: ${value}`);
    return { classes: [`answer ${answer.status}`], failures: faults };
  }

  await proves({ name, title: 'answers of HTTP/1.1, read by a client', run }, ['answer 200', 'answer 502']);
});

function wantedOf(place: string, said: string): Wanted {
  const own = place === 'x-request-id' ? {} : { [place]: [trimmed(said), ...(OURS[place] ?? [])] };
  return { 'x-last': ['end'], ...own };
}

test('a field of an HTTP/2 backend is one line for a client of HTTP/1.1, or the answer is 502', async (t) => {
  const lanes = await Promise.all(
    Array.from({ length: LANES }, async () => {
      const lane = { fields: [] as Fields, port: 0 };
      const backend = await startFrameBackend(t, (socket, { type, streamId }) => {
        if (type === TYPES.headers) socket.write(headers(streamId, lane.fields));
      });
      const proxy = await startProxy(t, { pools: [pool('app', [backend.port], { protocol: 'h2' })] });
      return Object.assign(lane, { port: proxy.port });
    }),
  );

  async function run(random: Random, number: number): Promise<CaseResult> {
    const [lane, said, place] = [lanes[number]!, hostile(random), random.pick([...ANSWER_PLACES, ':status'])];
    const status = place === ':status' ? `200${said}` : '200';
    const own: Fields = place === ':status' ? [] : [[place, said]];
    lane.fields = [[':status', status], ...own, ['x-last', 'end'], ['content-length', '0']];
    const answer = await exchangeRaw({ port: lane.port }, 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n');
    const faults = answerFaults(answer, answer.status === 200 ? wantedOf(place, said) : {});
    const mayPass = place === ':status' ? said === '' : isFieldValue(said);
    if (answer.status === 200 && !mayPass) faults.push('a value that is none was passed on');
    return { classes: [`HTTP/2 answer ${answer.status}`], failures: faults };
  }

  await proves({ name, title: 'answers of HTTP/2, read by a client', run }, [
    'HTTP/2 answer 200',
    'HTTP/2 answer 502',
  ]);
});
