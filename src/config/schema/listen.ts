/** The block `listen` of the configuration. */
import { z } from 'zod';
import { canonicalRange, UNIX_PEER } from '../../contract/addresses.ts';
import { acmeNamesSchema } from './acme.ts';
import { type Parsed, parseListenAddress } from './addresses.ts';
import * as Key from './fields.ts';

const SINCE = '0.6';

/** parseProxy reads a CIDR of peers, or `unix:`. */
export function parseProxy(raw: string): Parsed<string> {
  const cidr = raw === UNIX_PEER ? raw : canonicalRange(raw);
  return cidr === null ? { message: 'must be a CIDR like 10.0.0.0/8 or fd00::/8' } : { value: cidr };
}

const PROXY_MESSAGE = 'must be false, or a mapping like { from: [10.0.0.0/8] }';

const listenProxySchema = Key.described(
  z.union(
    [
      z.literal(false),
      Key.block('', {
        from: Key.list(Key.text('CIDR', '', parseProxy, { notText: 'must be a CIDR like 10.0.0.0/8' }), {
          type: 'list of CIDRs',
          meaning:
            'The peers whose connections all begin with a PROXY header, version 1 or 2. Connections of others are closed. `unix:` stands for every peer on a Unix socket.',
          range: 'at least one',
          none: 'needs at least one CIDR',
        }),
      }),
    ],
    Key.saying(PROXY_MESSAGE),
  ),
  {
    type: '`false` or mapping',
    meaning:
      'Behind a balancer that forwards TCP: it tells the address of the client by the PROXY protocol ([more](protocols.md#behind-a-balancer-that-forwards-tcp)).',
    fallback: 'false',
    since: SINCE,
  },
).default(false);

const certificate = Key.block('A certificate and its key.', {
  cert: Key.pemPath('The certificate, and after it the chain up to its authority.'),
  key: Key.pemPath('The private key, not encrypted.'),
});

const tls = Key.block(
  'TLS at this address ([more](tls.md)). A reload adds, changes or removes it for connections from then on.',
  {
    certificates: Key.list(certificate, {
      type: 'list',
      meaning:
        'Certificates. A client gets that of the name it asks for, by the names in each. The first is the default. Files are read again at a reload, and within seconds when they change.',
      fallback: 'empty',
    }).prefault([]),
    acme: acmeNamesSchema,
    unknownNames: Key.choice(
      ['default', 'refuse'],
      'What a client gets that asks for a name of no certificate: the default one, or a refusal.',
    ),
    minVersion: Key.choice(['TLSv1.2', 'TLSv1.3'], 'Oldest version of TLS.'),
    clientAuth: Key.choice(
      ['off', 'optional', 'require'],
      'Whether clients are asked for a certificate, and refused without one. One that is shown must be valid.',
    ),
    clientCa: Key.pemPathOrNone(
      'The authorities that may have signed the certificates of clients; with `clientAuth`.',
    ),
  },
  SINCE,
);

/** listenSchema is the list of addresses for the traffic that is proxied. */
export const listenSchema = Key.list(
  Key.block('One address to listen at.', {
    address: Key.text(
      'address',
      'Where to accept HTTP. Without a host: every IPv4 and IPv6 address. Port 0: any free one. A Unix socket file at which nobody listens any more is replaced.',
      parseListenAddress,
      { range: '`host:port`, `[v6]:port`, `:port`, `unix:/path`', notText: 'must be text like ":8080"' },
    ),
    tls: tls.optional(),
    http2: Key.flagOrAbsent('HTTP/2 over TLS, for clients that choose it (ALPN).', 'true with `tls`', SINCE),
    h2c: Key.flag(
      false,
      'HTTP/2 without TLS, for clients that begin with it (prior knowledge). HTTP/1.1 goes on working at the same address.',
      SINCE,
    ),
    proxyProtocol: listenProxySchema,
  }),
  {
    type: 'list',
    meaning:
      'Addresses for the traffic that is proxied. A reload opens and closes them ([how](operating.md#reload)).',
    fallback: 'one entry, `:8080`',
    none: 'needs at least one address',
  },
).prefault([{ address: ':8080' }]);
