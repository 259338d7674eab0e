/** Names with the same hash as a special one: a match of the hash must be confirmed by the bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TOKEN_BYTES } from '../../src/http1/head-bytes.ts';
import * as names from '../../src/http1/header-names.ts';
import { nextHash, specialClass } from '../../src/http1/header-names.ts';

const MASK = 4_095;
const LETTERS = 'abcdefghijklmnopqrstuvwxyz0123456789';
const SPECIAL = [...names.CLASSES.keys(), 'user-agent'];

function hashOf(name: string): number {
  let hash = 0;
  for (let i = 0; i < name.length; i++) hash = nextHash(hash, TOKEN_BYTES[name.charCodeAt(i)]!);
  return hash;
}

function classOf(name: string): number {
  const bytes = Buffer.from(`--${name}: x`, 'latin1');
  return specialClass(hashOf(name), bytes, 2, 2 + name.length);
}

/** Three letters after a prefix that give the hash of another name. */
function twinOf(beginning: string, wanted: number): string | null {
  for (const a of LETTERS) {
    for (const b of LETTERS) {
      for (const c of LETTERS) {
        const name = beginning + a + b + c;
        if ((hashOf(name) & MASK) === (wanted & MASK)) return name;
      }
    }
  }
  return null;
}

test('a longer name with the prefix and the hash of a special one is plain', () => {
  let found = 0;
  for (const name of SPECIAL) {
    const twin = twinOf(name, hashOf(name));
    if (twin === null) continue;
    found += 1;
    assert.equal(classOf(twin), names.classOf(twin), twin);
  }
  assert.ok(found > SPECIAL.length / 2, `${found} twins are no test`);
});

test('a name with the length and the hash of a special one is plain', () => {
  let found = 0;
  for (const name of SPECIAL) {
    if (name.length < 4) continue;
    const twin = twinOf('z'.repeat(name.length - 3), hashOf(name));
    if (twin === null) continue;
    found += 1;
    assert.equal(classOf(twin), names.PLAIN, twin);
  }
  assert.ok(found > SPECIAL.length / 2, `${found} twins are no test`);
});

test('the bare prefix x-forwarded- counts as a forwarding field', () => {
  assert.equal(classOf('x-forwarded-'), names.FORWARDED_OTHER);
  assert.equal(classOf('x-forwarded'), names.PLAIN);
});

test('special names are recognized in any case', () => {
  for (const name of [
    'Content-Length',
    'transfer-encoding',
    'CONNECTION',
    'Keep-Alive',
    'X-Request-ID',
    'Upgrade',
    'X-Forwarded-For',
    'X-Forwarded-Port',
    'Expect',
  ])
    assert.equal(classOf(name), names.classOf(name), name);
});

/** Some five hundred share the hash of `date`. */
test('exactly two names of four letters are special', () => {
  const found: string[] = [];
  for (let number = 0; number < 26 ** 4; number++) {
    const letters = [0, 1, 2, 3].map((place) => 97 + (Math.floor(number / 26 ** place) % 26));
    const name = String.fromCharCode(...letters);
    if (classOf(name) !== names.PLAIN) found.push(name);
  }
  assert.deepEqual(found.sort(), ['date', 'host']);
});
