/** The smallest possible request: it shows what the balancer itself costs. */
import { loadMatchup } from './matchup.ts';

const CONTESTANTS = [
  ...['sluice', 'sluice-before', 'sluice-socket', 'sluice-node', 'nginx', 'haproxy', 'caddy'],
  ...['http-proxy', 'http-proxy-3', 'httpxy', 'fastify-http-proxy'],
];

export const tiny = loadMatchup({
  name: 'tiny',
  title: 'Tiny GET, keep-alive, no limiter, no access log',
  work: { path: '/tiny', connections: 64 },
  contestants: CONTESTANTS.map((peer) => ({ peer })),
});
