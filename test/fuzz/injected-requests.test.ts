/**
 * Whatever stands in a field, a pseudo-header field or a trailer of a request, what leaves Sluice reads as exactly the fields
 * that were meant, or nothing leaves: no field is split in two, and no message either (CWE-113, CWE-93).
 */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { clientSubject } from '../../src/worker/inbound/tls/client-certificate.ts';
import { type CapturingBackend, startCapturingBackend } from '../proxy/capturing-backend.ts';
import { pool, route, startProxy, type TestProxy } from '../proxy/support.ts';
import {
  connectFrames,
  data,
  type Fields,
  type FrameClient,
  headers,
  request,
  TYPES,
} from '../support/h2-frames.ts';
import { exchangeRaw } from '../support/raw-http.ts';
import type { CaseResult } from './campaign.ts';
import { added, hostile, isFieldValue, trimmed } from './hostile-fields.ts';
import { answerFaults, LANES, proves, requestFaults, take } from './injection.ts';
import { Random } from './random.ts';

const name = 'injected-requests';
/** Fields of a request that Sluice reads, replaces, passes on or drops. */
const PLACES = [
  ...['x-own', 'x-request-id', 'traceparent', 'tracestate', 'x-forwarded-for', 'x-forwarded-host'],
  ...['x-forwarded-proto', 'forwarded', 'x-real-ip', 'user-agent', 'cookie', 'via', 'te', 'authorization'],
  ...['x-client-cert-subject', 'connection', 'x-api-key'],
];
const DROPPED = ['x-client-cert-subject', 'connection'];

let cases = 0;

test('a field of HTTP/2 is one line for a backend, or the request is refused', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxies = [await startH2c(t, backend, []), await startH2c(t, backend, ['127.0.0.0/8'])];
  const clients: (FrameClient | null)[] = Array.from({ length: LANES }, () => null);
  t.after(() => {
    for (const client of clients) client?.close();
  });
  const streams = clients.map(() => 1);

  async function run(random: Random, lane: number): Promise<CaseResult> {
    const [id, said] = [++cases, hostile(random)];
    const pseudo = { method: 'GET', path: '/x', authority: 'a' };
    const place = random.oneIn(3)
      ? random.pick(['method', 'path', 'authority'] as const)
      : random.pick(PLACES);
    if (place in pseudo) pseudo[place as keyof typeof pseudo] += said;
    const isPseudo = place in pseudo;
    const own: Fields = [
      ['x-case', String(id)],
      ...(isPseudo ? [] : [[place, said] as const]),
      ['x-last', 'end'],
    ];
    const hasTrailers = random.oneIn(4) && !isPseudo;
    const fields = request(own, { ...pseudo, ...(hasTrailers ? { method: 'POST' } : {}) });
    const client = await clientOf(lane);
    const stream = streams[lane]!;
    streams[lane] = stream + 2;
    client.send(headers(stream, fields, { ends: !hasTrailers }));
    if (hasTrailers) client.send(data(stream, 'abc'), headers(stream, [['x-own', said]]));
    const end = await client.wait(
      `an end of ${JSON.stringify(fields)}`,
      ({ type, stream: of }) =>
        type === TYPES.goaway || (of === stream && (type === TYPES.headers || type === TYPES.reset)),
    );
    if (end.type === TYPES.goaway) clients[lane] = null;
    const { seen, faults } = take(backend, id);
    if (seen === undefined) return { classes: ['HTTP/2 refused'], failures: faults };
    const values = [trimmed(said)];
    const method = hasTrailers ? 'POST' : pseudo.method;
    faults.push(
      ...requestFaults(seen, {
        line: `${method} ${pseudo.path} HTTP/1.1`,
        ...{ host: pseudo.authority, said: trimmed(said) },
        fields: {
          'x-case': [String(id)],
          ...(isPseudo || place in added('', '') ? {} : { [place]: DROPPED.includes(place) ? [] : values }),
          ...(hasTrailers ? { 'transfer-encoding': ['chunked'] } : {}),
        },
      }),
    );
    if (!isPseudo && !isFieldValue(said)) faults.push('a value that is none was passed on');
    if (hasTrailers && !['', `x-own: ${trimmed(said)}`].includes(seen.trailers))
      faults.push(`trailers ${JSON.stringify(seen.trailers)}`);
    return { classes: ['HTTP/2 passed on'], failures: faults };
  }

  async function clientOf(lane: number): Promise<FrameClient> {
    const known = clients[lane];
    if (known !== null && known !== undefined && !known.closed && streams[lane]! < 2_000) return known;
    known?.close();
    streams[lane] = 1;
    const client = await connectFrames({ port: proxies[lane % 2]!.port });
    clients[lane] = client;
    return client;
  }

  await proves({ name, title: 'fields of HTTP/2, read by a backend', run }, [
    'HTTP/2 refused',
    'HTTP/2 passed on',
  ]);
});

function startH2c(t: TestContext, backend: CapturingBackend, trustedProxies: string[]): Promise<TestProxy> {
  return startProxy(t, { backends: [backend], h2c: true, trustedProxies });
}

test('a field of HTTP/1.1 reaches the backend, the answer and Location as it is, or the request is refused', async (t) => {
  const backend = await startCapturingBackend(t);
  const redirect = { pool: null, redirect: { scheme: 'https', status: 308 } } as const;
  const pools = [pool('app', [backend.port])];
  const startWith = (trustedProxies: string[]) => {
    const away = route('away', { path: '/away/' }, redirect);
    return startProxy(t, { pools, routes: [away, route('app', {}, { pool: 'app' })], trustedProxies });
  };
  const proxies = [await startWith([]), await startWith(['127.0.0.0/8'])];

  async function run(random: Random, lane: number): Promise<CaseResult> {
    // What holds CRLF is two lines by the client's own will.
    const [id, said] = [++cases, hostile(random).replace(/\r+(?=\n)/g, '')];
    const place = random.oneIn(3) ? random.pick(['target', 'host'] as const) : random.pick(PLACES);
    // Several blanks behind a target are read as one.
    const target = `${random.pick(['/x', '/away/'])}${place === 'target' ? said.replace(/ +$/, '') : ''}`;
    const host = `a${place === 'host' ? said : ''}`;
    const field = ['target', 'host'].includes(place) ? '' : `${place}: ${said}\r\n`;
    const text = `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nX-Case: ${id}\r\n${field}X-Last: end\r\n\r\n`;
    const answer = await exchangeRaw({ port: proxies[lane % 2]!.port }, Buffer.from(text, 'latin1'));
    const { seen, faults } = take(backend, id);
    const location = [`https://${trimmed(host)}${target}`];
    faults.push(...answerFaults(answer, { location: answer.status === 308 ? location : [] }));
    if (!isFieldValue(said) && answer.status < 400)
      faults.push(`bytes that may not be were answered ${answer.status}`);
    if (seen === undefined) return { classes: [`HTTP/1.1 answered ${answer.status}`], failures: faults };
    const values = [trimmed(said)];
    faults.push(
      ...requestFaults(seen, {
        ...{ line: `GET ${target} HTTP/1.1`, host: trimmed(host), said: trimmed(said) },
        fields: {
          'x-case': [String(id)],
          ...(field === '' || place in added('', '')
            ? {}
            : { [place]: DROPPED.includes(place) ? [] : values }),
        },
      }),
    );
    return { classes: ['HTTP/1.1 passed on'], failures: faults };
  }

  await proves({ name, title: 'fields of HTTP/1.1, read by a backend', run }, [
    'HTTP/1.1 passed on',
    'HTTP/1.1 answered 400',
    'HTTP/1.1 answered 308',
  ]);
});

test('the subject of a certificate is visible ASCII, whatever is in it', () => {
  const random = new Random(Date.now());
  for (let count = 0; count < 2_000; count += 1) {
    const subject = `CN=${hostile(random)}${random.pick(['', '\u2028', '\u010a', '\u{1f600}', '\ud800'])}`;
    const certificate = { validToDate: new Date(Date.now() + 60_000), subject };
    const socket = { authorized: true, getPeerX509Certificate: () => certificate } as unknown as TLSSocket;
    const found = clientSubject(socket, 'require');
    assert.ok('name' in found && /^[\x20-\x7e]+$/.test(found.name ?? ''), JSON.stringify({ subject, found }));
  }
});
