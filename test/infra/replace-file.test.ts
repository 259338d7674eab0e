import assert from 'node:assert/strict';
import { linkSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { placeFile, replaceFile } from '../../src/infra/replace-file.ts';
import { tempFolder } from '../support/temp-folder.ts';

for (const write of [placeFile, replaceFile]) {
  test(`${write.name} makes and replaces a file of its owner alone, and leaves no draft`, async (t) => {
    const path = join(tempFolder(t), 'a/b.json');
    for (const text of ['first', 'second']) {
      await write(path, text);
      assert.equal(readFileSync(path, 'utf8'), text);
    }
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(path)).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(dirname(path)), ['b.json']);
  });

  test(`${write.name} throws where the file cannot be replaced, and leaves no draft`, async (t) => {
    const folder = tempFolder(t);
    mkdirSync(join(folder, 'taken'));
    await assert.rejects(async () => write(join(folder, 'taken'), 'text'), { code: 'EISDIR' });
    assert.deepEqual(readdirSync(folder), ['taken']);
  });
}

test('a file that is placed by a link replaces none', (t) => {
  const path = join(tempFolder(t), 'secret');
  placeFile(path, 'ours', linkSync);
  assert.throws(() => placeFile(path, 'theirs', linkSync), { code: 'EEXIST' });
  assert.equal(readFileSync(path, 'utf8'), 'ours');
  assert.deepEqual(readdirSync(dirname(path)), ['secret']);
});
