/** nginx and HAProxy, set up to do against faults what the configuration of Sluice does. */
import { type PeerProgram, peerSubject } from './peer.ts';

const seconds = (ms: number) => `${Math.max(1, Math.round(ms / 1_000))}s`;

const NGINX: PeerProgram = {
  ...{ name: 'nginx', versionOption: '-v', reloadSignal: 'SIGHUP', stopSignal: 'SIGQUIT' },
  args: (folder, config) => ['-p', folder, '-c', config, '-e', 'stderr'],
  values: ({ backends, workers, openFiles, answerMs, tryMs, ejectionMs }, ports) => ({
    ...{ WORKERS: workers, ANSWER_MS: answerMs, TRY_MS: tryMs },
    FILES: openFiles === undefined ? 'worker_rlimit_nofile 20000;' : '',
    CONNECTIONS: openFiles ?? 19_500,
    LISTEN: ports.map((port) => `listen 127.0.0.1:${port} backlog=4096;`).join('\n    '),
    BACKENDS: backends
      .map(({ port, weight }) => {
        return `server 127.0.0.1:${port} weight=${weight} max_fails=5 fail_timeout=${seconds(ejectionMs)};`;
      })
      .join('\n    '),
  }),
};

const HAPROXY: PeerProgram = {
  ...{ name: 'haproxy', versionOption: '-v', reloadSignal: 'SIGUSR2', stopSignal: 'SIGUSR1' },
  args: (_, config) => ['-W', '-db', '-f', config],
  values: ({ backends, workers, answerMs, tryMs, probeMs, slowStartMs, probes = true }, ports) => ({
    ...{ WORKERS: workers, ANSWER_MS: answerMs, TRY_MS: tryMs },
    LISTEN: ports.map((port) => `bind 127.0.0.1:${port} backlog 4096`).join('\n  '),
    BACKENDS: backends
      .map(({ port, weight }) => {
        const check = `check inter ${probeMs}ms rise 2 fall 3 slowstart ${slowStartMs}ms`;
        const observe = 'observe layer7 error-limit 5 on-error mark-down';
        return `server s${port} 127.0.0.1:${port} weight ${weight}${probes ? ` ${check} ${observe}` : ''}`;
      })
      .join('\n  '),
  }),
};

export const nginx = peerSubject(NGINX);
export const haproxy = peerSubject(HAPROXY);
