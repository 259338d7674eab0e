/** What workers need for TLS with clients, as the primary sends it. Workers read no files. */
import type { ListenSettings } from './settings.ts';
import type { Fitting, Typed } from './shape.ts';

type TlsSettings = NonNullable<ListenSettings['tls']>;

/** How long a client may take from the accept of its connection to the end of the handshake. */
export const HANDSHAKE_MS = 10_000;

/** A certificate and its key. */
const TLS_CERTIFICATE = {
  fields: {
    /** Lower case; `*.example.com` stands for one label before the rest. Empty: only as the default. */
    names: { listOf: 'string' },
    /** PEM, the chain included. */
    cert: 'string',
    key: 'string',
  },
} as const;

/** The TLS of one address of `listen`. */
export const TLS_ADDRESS = {
  fields: {
    /** Of addressesByKey. */
    address: 'string',
    /** The first is the default; empty: every handshake fails. */
    certificates: { listOf: TLS_CERTIFICATE },
    unknownNames: 'string' as Typed<'string', TlsSettings['unknownNames']>,
    minVersion: 'string' as Typed<'string', TlsSettings['minVersion']>,
    clientAuth: 'string' as Typed<'string', TlsSettings['clientAuth']>,
    /** PEM of the authorities of client certificates; null: clients are asked for none. */
    clientCa: { nullOr: 'string' },
  },
} as const;

export type TlsAddress = Fitting<typeof TLS_ADDRESS>;

/** TlsMaterial is all of it. */
export interface TlsMaterial {
  /** 48 bytes in base64: session tickets are valid in every worker that has the same. */
  ticketKeys: string;
  addresses: TlsAddress[];
}
