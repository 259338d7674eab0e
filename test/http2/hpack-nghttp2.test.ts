/** HPACK between our code and nghttp2, with made-up fields. */
import assert from 'node:assert/strict';
import { type OutgoingHttpHeaders, sensitiveHeaders } from 'node:http2';
import { test } from 'node:test';
import fc from 'fast-check';
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts';
import { Nghttp2Client, Nghttp2Server } from './nghttp2.ts';

const LIMITS = { maxFields: 10_000, maxListBytes: 1_000_000 };
const PSEUDO = [':method', 'GET', ':scheme', 'http', ':authority', 'a', ':path', '/'];

const TOKEN = [..."!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"];
const VISIBLE = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte)).filter((text) =>
  /[!-~\x80-\xff]/.test(text),
);

/** Some come again and again, so that tables get them and lose them. */
const name = fc.oneof(
  fc.constantFrom(
    'server',
    'date',
    'accept',
    'x-a',
    'x-b',
    'x-request-id',
    'content-type',
    'authorization',
    'cache-control',
  ),
  fc.string({ unit: fc.constantFrom(...TOKEN), maxLength: 20 }).map((text) => `y-${text}`),
);
const value = fc.oneof(
  fc.constantFrom(
    '',
    'a',
    'text/html; charset=utf-8',
    'gzip, deflate',
    'x'.repeat(900),
    'y'.repeat(300),
    '0',
  ),
  fc.string({ unit: fc.constantFrom(...VISIBLE), maxLength: 40 }),
  fc.tuple(fc.constantFrom(...VISIBLE), fc.nat(400)).map(([text, count]) => text.repeat(count)),
);
const message = fc.array(fc.tuple(name, value), { maxLength: 12 });
const tableBytes = fc.oneof(fc.constantFrom(0, 31, 64, 4_096, 65_536), fc.nat(5_000));
/** What happens on a connection: messages, and changes of the size of the table. */
const connection = fc.array(
  fc.oneof({ weight: 5, arbitrary: message }, { weight: 1, arbitrary: tableBytes }),
  {
    minLength: 1,
    maxLength: 12,
  },
);
const RUNS = { numRuns: 150 };

function decoded(decoder: HpackDecoder, bytes: Buffer): string[] | null {
  return decoder.decode(bytes, 0, bytes.length);
}

test('our decoder reads what our encoder writes, whatever the sizes of the table', () => {
  fc.assert(
    fc.property(connection, (steps) => {
      const encoder = new HpackEncoder();
      const decoder = new HpackDecoder(LIMITS);
      for (const step of steps) {
        if (typeof step === 'number') encoder.limitTable(step);
        else
          for (let i = 0; i < 2; i++)
            assert.deepEqual(decoded(decoder, encoder.encode(step.flat())), step.flat());
      }
    }),
    { numRuns: 1_000 },
  );
});

test('nghttp2 reads what our encoder writes, whatever the sizes of the table', async () => {
  await fc.assert(
    fc.asyncProperty(connection, async (steps) => {
      using server = new Nghttp2Server();
      const encoder = new HpackEncoder();
      for (const step of steps) {
        if (typeof step === 'number') {
          await server.limitTable(step);
          encoder.limitTable(step);
          continue;
        }
        const fields = [...PSEUDO, ...step.flat()];
        for (let i = 0; i < 2; i++) {
          assert.deepEqual(await server.judge(encoder.encode(fields)), { fields });
        }
      }
    }),
    RUNS,
  );
});

test('our decoder reads what nghttp2 writes, whatever the sizes of the table', async () => {
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.dictionary(name, fc.oneof(value, fc.array(value, { minLength: 1, maxLength: 3 })), {
        maxKeys: 10,
      }),
    },
    { weight: 1, arbitrary: tableBytes.map((bytes) => Math.min(bytes, 4_096)) },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.array(name),
      async (steps, secrets) => {
        using client = new Nghttp2Client();
        const decoder = new HpackDecoder(LIMITS);
        for (const each of steps) {
          if (typeof each === 'number') {
            await client.limitTable(each);
            continue;
          }
          const single = Object.entries(each).map(([key, values]) => [
            key,
            isSingle(key) ? [values].flat()[0] : values,
          ]);
          const headers = {
            ...Object.fromEntries(single),
            [sensitiveHeaders]: secrets,
          } as OutgoingHttpHeaders;
          const expected = single.flatMap(([key, values]) => [values].flat().flatMap((one) => [key, one]));
          for (let i = 0; i < 2; i++) {
            const fields = decoded(decoder, await client.blockOf(headers));
            assert.deepEqual(fields?.slice(8), expected);
            assert.equal(decoder.isMalformed, false);
          }
        }
      },
    ),
    RUNS,
  );
});

/** Names that node:http2 sends once only. */
function isSingle(key: string): boolean {
  return ['server', 'date', 'content-type', 'authorization'].includes(key);
}
