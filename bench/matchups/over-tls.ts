/** The work of other scenarios over TLS 1.3: HTTP/1.1 by wrk, full handshakes by `openssl s_time`. */
import { loadMatchup } from './matchup.ts';

const contestants = ['sluice', 'nginx', 'haproxy', 'caddy'].map((peer) => ({ peer, options: { tls: true } }));

export const tlsTiny = loadMatchup({
  name: 'tls-tiny',
  title: 'Tiny GET over TLS, keep-alive',
  work: { path: '/tiny', connections: 64, tls: true },
  contestants,
});

export const tlsHandshakes = loadMatchup({
  name: 'tls-handshakes',
  title: 'A full TLS handshake per request',
  work: { path: '/tiny', connections: 16, tls: true, reconnecting: true },
  contestants,
});

export const tlsDownload = loadMatchup({
  name: 'tls-download-1mib',
  title: '1 MiB response over TLS',
  work: { path: '/1m', connections: 16, tls: true },
  contestants,
});
