/** Protocols of clients' connections, as labels of sluice_connections_open. `pending`: not known yet (first bytes, handshake). */
export const CONNECTION_PROTOCOLS = ['pending', 'http1', 'h2'] as const;

export type ConnectionProtocol = (typeof CONNECTION_PROTOCOLS)[number];
