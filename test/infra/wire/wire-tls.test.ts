/** Handshakes with backends: names, authorities, certificates of ours, sessions. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer as createTcpServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls';
import { BackendTls } from '../../../src/infra/wire/backend-tls.ts';
import { Authority } from '../../support/certificates.ts';
import { backendTlsSettings } from '../../support/settings.ts';
import { waitFor } from '../../support/wait.ts';
import { closeOf, collect, listen, MAKERS, tcpPort, turns } from './pairs.ts';
import { RecordingOwner } from './recording-owner.ts';

const authority = new Authority();
const stranger = new Authority('A stranger');
const ca = authority.root;
const day = 24 * 3_600_000;

/** A type of record (RFC 5246 §6.2.1). */
const ALERT = 21;

function recordTypes(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at < bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) types.push(bytes[at] ?? 0);
  return types;
}

/** A TLS server, whose connections are kept, and the port. */
async function startServer(t: TestContext, options: TlsOptions) {
  const sockets: TLSSocket[] = [];
  const server = createServer({ allowHalfOpen: true, ...options }, (socket) => {
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    sockets.push(socket);
  });
  server.on('tlsClientError', () => undefined);
  await listen(t, server, 'TCP');
  return { port: tcpPort(server), sockets };
}

for (const maker of MAKERS) {
  const open = (t: TestContext, port: number, tls: BackendTls, host = '127.0.0.1') => {
    const owner = new RecordingOwner();
    owner.wire = maker.connect({ host, port, tls }, owner);
    t.after(() => owner.wire.close());
    return owner;
  };
  const outcomeOf = async (owner: RecordingOwner) => {
    await waitFor('the connection to open or fail', () => owner.told.length > 0);
    return owner.told[0] === 'connect' ? 'connect' : owner.errors[0]?.message;
  };

  test(`B40: ${maker.name} wire: the certificate must be for the host of the URL, or for serverName, whatever the address`, async (t) => {
    const { cert, key } = authority.issue(['localhost', 'app.internal']);
    const asked: string[] = [];
    const { port } = await startServer(t, {
      cert,
      key,
      SNICallback: (name, done) => done(null, void asked.push(name) as never),
    });
    const to = (host: string, serverName: string | null = null) =>
      outcomeOf(open(t, port, new BackendTls(host, backendTlsSettings({ ca, serverName })), host));
    assert.equal(await to('localhost'), 'connect');
    assert.equal(await to('127.0.0.1', 'app.internal'), 'connect');
    assert.equal(
      await to('localhost', 'other.internal'),
      'TLS: the certificate is not for other.internal (ERR_TLS_CERT_ALTNAME_INVALID)',
    );
    assert.equal(
      await to('127.0.0.1'),
      'TLS: the certificate is not for 127.0.0.1 (ERR_TLS_CERT_ALTNAME_INVALID)',
    );
    assert.deepEqual(asked, ['localhost', 'app.internal', 'other.internal'], 'no SNI for an address');
  });

  test(`${maker.name} wire: for an address the certificate must hold the address`, async (t) => {
    const { cert, key } = authority.issue(['127.0.0.1', '::1']);
    const { port } = await startServer(t, { cert, key });
    const tls = new BackendTls('127.0.0.1', backendTlsSettings({ ca }));
    assert.equal(await outcomeOf(open(t, port, tls)), 'connect');
  });

  test(`${maker.name} wire: an error of TLS says what failed`, async (t) => {
    const outcome = async (options: TlsOptions, settings: Parameters<typeof backendTlsSettings>[0]) => {
      const { port } = await startServer(t, options);
      return outcomeOf(open(t, port, new BackendTls('127.0.0.1', backendTlsSettings(settings))));
    };
    const names = ['127.0.0.1'];
    const expired = authority.issue(names, {
      notBefore: new Date(Date.now() - 3 * day),
      notAfter: new Date(Date.now() - day),
    });
    assert.equal(await outcome(expired, { ca }), 'TLS: the certificate has expired (CERT_HAS_EXPIRED)');
    const early = authority.issue(names, {
      notBefore: new Date(Date.now() + day),
      notAfter: new Date(Date.now() + 2 * day),
    });
    assert.equal(await outcome(early, { ca }), 'TLS: the certificate is not valid yet (CERT_NOT_YET_VALID)');
    const good = authority.issue(names);
    const untrusted = 'TLS: the authority that signed the certificate is not trusted';
    assert.equal(
      await outcome(good, { ca: stranger.root }),
      `${untrusted} (UNABLE_TO_VERIFY_LEAF_SIGNATURE)`,
    );
    assert.equal(await outcome(good, {}), `${untrusted} (UNABLE_TO_VERIFY_LEAF_SIGNATURE)`);
    assert.equal(await outcome(good, { verify: false }), 'connect');
    assert.match(
      String(await outcome({ ...good, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }, { ca })),
      /^TLS: .*protocol.* \(ERR_SSL_/,
    );
    assert.match(
      String(await outcome({ ...good, ALPNProtocols: ['h2'] }, { ca })),
      /^TLS: .*no application protocol/,
    );
    const plain = createTcpServer((socket) =>
      socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    await listen(t, plain, 'TCP');
    const tls = new BackendTls('127.0.0.1', backendTlsSettings({ ca }));
    assert.match(
      String(await outcomeOf(open(t, tcpPort(plain), tls))),
      /^TLS: what answers does not speak TLS \(ERR_SSL_/,
    );
  });

  test(`${maker.name} wire: a backend that asks for a certificate gets ours, or refuses`, async (t) => {
    const good = authority.issue(['127.0.0.1']);
    const own = authority.issue(['sluice'], { subject: '/CN=sluice' });
    const options = { ...good, ca: ca.cert, requestCert: true, rejectUnauthorized: true };
    const { port, sockets } = await startServer(t, options);
    const owner = open(t, port, new BackendTls('127.0.0.1', backendTlsSettings({ ca, own })));
    assert.equal(await outcomeOf(owner), 'connect');
    await waitFor('the connection', () => sockets.length === 1);
    assert.equal(sockets[0]?.getPeerCertificate().subject.CN, 'sluice');
    const without = open(t, port, new BackendTls('127.0.0.1', backendTlsSettings({ ca })));
    // With TLS 1.3 the refusal comes after the handshake.
    await waitFor('the refusal', () => without.errors.length > 0);
    assert.match(without.errors[0]?.message ?? '', /certificate required|ECONNRESET|closed/);
  });

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const)
    test(`${maker.name} wire: a session is resumed with ${version}, tickets are not bytes for the owner, and another BackendTls has none`, async (t) => {
      const { cert, key } = authority.issue(['127.0.0.1']);
      const { port, sockets } = await startServer(t, { cert, key, minVersion: version, maxVersion: version });
      const tls = new BackendTls('127.0.0.1', backendTlsSettings({ ca }));
      const reused = async (through: BackendTls) => {
        const owner = open(t, port, through);
        const before = sockets.length;
        await waitFor('the connection', () => owner.told.length > 0 && sockets.length > before);
        const socket = sockets.at(-1);
        socket?.write('x');
        await waitFor('a byte', () => owner.text !== '');
        await turns();
        assert.deepEqual([owner.text, owner.told, owner.wrongCalls], ['x', ['connect'], []]);
        return socket?.isSessionReused();
      };
      assert.deepEqual([await reused(tls), await reused(tls), await reused(tls)], [false, true, true]);
      assert.equal(await reused(new BackendTls('127.0.0.1', backendTlsSettings({ ca }))), false);
      assert.equal(
        await reused(new BackendTls('127.0.0.1', backendTlsSettings({ ca }), { resume: false })),
        false,
      );
    });

  test(`${maker.name} wire: a close right behind an end sends what was written, and close_notify`, async (t) => {
    const { cert, key } = authority.issue(['127.0.0.1']);
    const { port, sockets } = await startServer(t, { cert, key, maxVersion: 'TLSv1.2' });
    const sent: Buffer[] = [];
    // On the way to the backend, for node does not tell whether an end was announced.
    const relay = createTcpServer((socket) => {
      const onward = connect(port, '127.0.0.1').on('error', () => undefined);
      t.after(() => onward.destroy());
      socket.on('error', () => undefined).on('data', (bytes: Buffer) => sent.push(bytes));
      socket.pipe(onward).pipe(socket);
    });
    await listen(t, relay, 'TCP');
    const owner = open(t, tcpPort(relay), new BackendTls('127.0.0.1', backendTlsSettings({ ca })));
    await waitFor('the connection', () => owner.count('connect') === 1 && sockets.length === 1);
    const [peer] = sockets;
    const got = peer === undefined ? assert.fail() : collect(peer);
    owner.call((wire) => wire.writeText('last'));
    // The handle wire is not blocked, though this write goes on until a later moment of this turn.
    if (owner.wire.blocked) await waitFor('the write', () => !owner.wire.blocked);
    owner.call((wire) => wire.end());
    owner.leave();
    await waitFor('the end', () => got.ended);
    assert.equal(got.text, 'last');
    assert.equal(recordTypes(Buffer.concat(sent)).at(-1), ALERT);
    assert.deepEqual(owner.wrongCalls, []);
  });

  test(`${maker.name} wire: a close while the handshake is under way makes no call`, async (t) => {
    const silent = createTcpServer();
    await listen(t, silent, 'TCP');
    const accepted = once(silent, 'connection') as Promise<[Socket]>;
    const owner = open(t, tcpPort(silent), new BackendTls('127.0.0.1', backendTlsSettings({ ca })));
    const [socket] = await accepted;
    await once(socket, 'data');
    owner.leave();
    await closeOf(socket.on('error', () => undefined).resume());
    assert.deepEqual([owner.told, owner.wrongCalls], [[], []]);
  });
}
