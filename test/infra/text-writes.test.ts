/** Texts into sockets, past the stream machinery and through it: what is said of them must be what became of them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  probeShortWrites,
  type TextWriter,
  writeTextPublicly,
  writeTextShortly,
} from '../../src/infra/text-writes.ts';
import { makeTempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

/** More than a socket of the system holds. */
const LARGE = 'x'.repeat(1_048_576);

/** A connected pair over a Unix socket, whose buffers are small. */
async function pairOf(t: TestContext): Promise<{ writer: Socket; reader: Socket }> {
  const path = join(makeTempFolder(), 'pair.sock');
  const server = createServer({ pauseOnConnect: true }).listen({ path });
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const writer = connect({ path });
  writer.on('error', () => writer.destroy());
  await once(writer, 'connect');
  const [reader] = (await accepted) as [Socket];
  t.after(() => {
    for (const socket of [writer, reader]) socket.destroy();
    server.close();
  });
  return { writer, reader };
}

/** Everything that comes, latin1. */
function collect(reader: Socket): { text: string } {
  const got = { text: '' };
  reader.on('data', (chunk: Buffer) => {
    got.text += chunk.toString('latin1');
  });
  reader.resume();
  return got;
}

const WAYS: [string, TextWriter][] = [
  ['publicly', writeTextPublicly],
  ['shortly', writeTextShortly],
];

for (const [name, write] of WAYS) {
  test(`written ${name}, texts arrive whole and in order, whatever way each went and however slow the reader is`, async (t) => {
    const { writer, reader } = await pairOf(t);
    assert.equal(write(writer, 'caf\xe9'), true, 'a small text fits');
    assert.equal(write(writer, LARGE), false, 'a large one does not');
    let allOut = false;
    writer.write('', () => {
      allOut = true;
    });
    write(writer, 'y');
    writer.write('z');
    write(writer, '!');
    assert.equal(allOut, false);
    const got = collect(reader);
    const total = 4 + LARGE.length + 3;
    await waitFor('everything', () => got.text.length === total && allOut);
    assert.equal(got.text, `caf\xe9${LARGE}yz!`);
    assert.equal(writer.bytesWritten, total);
    assert.equal(write(writer, 'more'), true, 'the queue is empty again');
    await waitFor('more', () => got.text.endsWith('more'));
  });

  test(`written ${name}, a text to a peer that is gone is no success and ends the socket`, async (t) => {
    const { writer, reader } = await pairOf(t);
    const closed = new Promise((resolve) => writer.on('close', resolve));
    reader.destroy();
    await once(reader, 'close');
    // The writer's loop has not looked yet: the kernel refuses the write itself.
    assert.equal(write(writer, 'x'), false);
    const told = await new Promise((resolve) => writer.write('', resolve));
    assert.ok(told instanceof Error, String(told));
    await closed;
  });

  test(`written ${name}, a text on a socket that connects leaves when it is connected`, async () => {
    const path = join(makeTempFolder(), 'late.sock');
    const received = Promise.withResolvers<string>();
    const server = createServer((socket) => socket.on('data', (chunk) => received.resolve(String(chunk))));
    server.listen({ path });
    await once(server, 'listening');
    const writer = connect({ path });
    assert.equal(write(writer, 'early'), false);
    assert.equal(await received.promise, 'early');
    writer.destroy();
    server.close();
    await once(server, 'close');
  });
}

test('the probe finds the short way equal, and not where writes of the handle do something else', async (t) => {
  assert.equal(await probeShortWrites(), true, 'this Node.js has what short writes need');
  const { writer } = await pairOf(t);
  const { _handle: handle } = writer as unknown as { _handle: object };
  const writes = Object.getPrototypeOf(Object.getPrototypeOf(handle));
  const owner = 'writeLatin1String' in writes ? writes : Object.getPrototypeOf(handle);
  const others = [() => assert.fail('a request is needed'), () => 0];
  for (const other of others) {
    const mocked = t.mock.method(owner, 'writeLatin1String', other);
    assert.equal(await probeShortWrites(), false, String(other));
    mocked.mock.restore();
  }
});
