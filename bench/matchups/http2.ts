/** HTTP/2 from clients over TLS: a tiny request to backends of HTTP/1.1, and a gRPC call to backends of HTTP/2. */
import { GRPC_PATH } from '../rig/grpc.ts';
import { loadMatchup } from './matchup.ts';

const PEERS = ['sluice', 'nginx', 'haproxy', 'caddy'];
const CONNECTIONS = { connections: 10, streams: 32 };

export const http2Tiny = loadMatchup({
  name: 'http2-tiny',
  title: 'Tiny GET by HTTP/2 over TLS',
  work: { path: '/tiny', ...CONNECTIONS },
  contestants: [...PEERS.map((peer) => ({ peer, options: { tls: true } })), { peer: 'node-http2' }],
});

export const grpcUnary = loadMatchup({
  name: 'grpc-unary',
  title: 'Unary gRPC call over TLS',
  work: { path: GRPC_PATH, ...CONNECTIONS, grpc: true },
  contestants: PEERS.map((peer) => ({ peer, options: { tls: true, grpc: true } })),
});
