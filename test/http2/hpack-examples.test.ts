/** The examples of RFC 7541, Appendix C. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HpackDecoder } from '../../src/http2/hpack-decoder.ts';
import { HpackEncoder } from '../../src/http2/hpack-encoder.ts';

const LIMITS = { maxFields: 100, maxListBytes: 65_536 };

interface Example {
  hex: string;
  fields: string[];
}

const REQUESTS = [
  [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com'],
  [
    ':method',
    'GET',
    ':scheme',
    'http',
    ':path',
    '/',
    ':authority',
    'www.example.com',
    'cache-control',
    'no-cache',
  ],
  [
    ...[':method', 'GET', ':scheme', 'https', ':path', '/index.html', ':authority', 'www.example.com'],
    ...['custom-key', 'custom-value'],
  ],
];

const RESPONSES = [
  [
    ...[':status', '302', 'cache-control', 'private', 'date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ...['location', 'https://www.example.com'],
  ],
  [
    ...[':status', '307', 'cache-control', 'private', 'date', 'Mon, 21 Oct 2013 20:13:21 GMT'],
    ...['location', 'https://www.example.com'],
  ],
  [
    ...[':status', '200', 'cache-control', 'private', 'date', 'Mon, 21 Oct 2013 20:13:22 GMT'],
    ...['location', 'https://www.example.com', 'content-encoding', 'gzip'],
    ...['set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'],
  ],
];

/** The examples of responses are for a table of 256 bytes: a block that begins so makes it one. */
const TABLE_OF_256 = '3fe101';

function examples(hex: readonly string[], fields: readonly string[][], before = ''): Example[] {
  return hex.map((text, i) => ({
    hex: (i === 0 ? before : '') + text.replaceAll(/\s/g, ''),
    fields: fields[i]!,
  }));
}

/** Each list is what one connection sends. */
const EXAMPLES: Record<string, Example[]> = {
  'C.2.1, a literal that is indexed': examples(
    ['400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572'],
    [['custom-key', 'custom-header']],
  ),
  'C.2.2, a literal without indexing': examples(
    ['040c 2f73 616d 706c 652f 7061 7468'],
    [[':path', '/sample/path']],
  ),
  'C.2.3, a literal that is never indexed': examples(
    ['1008 7061 7373 776f 7264 0673 6563 7265 74'],
    [['password', 'secret']],
  ),
  'C.2.4, an indexed field': examples(['82'], [[':method', 'GET']]),
  'C.3, requests without Huffman': examples(
    [
      '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      '8286 84be 5808 6e6f 2d63 6163 6865',
      '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
    ],
    REQUESTS,
  ),
  'C.4, requests with Huffman': examples(
    [
      '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
      '8286 84be 5886 a8eb 1064 9cbf',
      '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
    ],
    REQUESTS,
  ),
  'C.5, responses without Huffman': examples(
    [
      `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 54
      6e17 6874 7470 733a 2f2f 7777 772e 6578 616d 706c 652e 636f 6d`,
      '4803 3330 37c1 c0bf',
      `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
      6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
      2076 6572 7369 6f6e 3d31`,
    ],
    RESPONSES,
    TABLE_OF_256,
  ),
  'C.6, responses with Huffman': examples(
    [
      `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
      8f0b 97c8 e9ae 82ae 43d3`,
      '4883 640e ffc1 c0bf',
      `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
      dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
    ],
    RESPONSES,
    TABLE_OF_256,
  ),
};

for (const [name, blocks] of Object.entries(EXAMPLES)) {
  test(`${name} is decoded`, () => {
    const decoder = new HpackDecoder(LIMITS);
    for (const { hex, fields } of blocks) {
      const block = Buffer.from(hex, 'hex');
      assert.deepEqual(decoder.decode(block, 0, block.length), fields);
      assert.equal(decoder.isMalformed, false);
    }
  });
}

test('a block is read from its first to its last byte, and nothing around it', () => {
  const decoder = new HpackDecoder(LIMITS);
  const block = Buffer.from('ff8286840082', 'hex');
  assert.deepEqual(decoder.decode(block, 1, 4), REQUESTS[0]!.slice(0, 6));
});

test('what the encoder makes of the messages of the examples is decoded to the same, however often they are sent', () => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder(LIMITS);
  const sizes: number[] = [];
  for (let round = 0; round < 4; round++) {
    for (const fields of [...REQUESTS, ...RESPONSES]) {
      const block = encoder.encode(fields);
      assert.deepEqual(decoder.decode(block, 0, block.length), fields);
      if (fields === REQUESTS[0]) sizes.push(block.length);
    }
  }
  assert.deepEqual(sizes, [20, 4, 4, 4]);
});
