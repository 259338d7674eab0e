/** Every scenario of `make bench-peers`, in the order of the report. */
import { accessLog } from './access-log.ts';
import { download } from './download.ts';
import { halfLoad } from './half-load.ts';
import { grpcUnary, http2Tiny } from './http2.ts';
import { idleConnections, idleTunnels } from './idle-connections.ts';
import { limiterCrowd, limiterHot } from './limiter.ts';
import type { Matchup } from './matchup.ts';
import { newConnection } from './new-connection.ts';
import { tlsDownload, tlsHandshakes, tlsTiny } from './over-tls.ts';
import { post } from './post.ts';
import { refused } from './refused.ts';
import { reloads } from './reloads.ts';
import { rest } from './rest.ts';
import { resumption } from './resumption.ts';
import { slowPeers } from './slow-peers.ts';
import { tenKib } from './ten-kib.ts';
import { tiny } from './tiny.ts';
import { twoWorkers } from './two-workers.ts';
import { upload } from './upload.ts';
import { webSocket } from './web-socket.ts';

export const MATCHUPS: readonly Matchup[] = [
  ...[tiny, accessLog, tenKib, post, download, upload, newConnection, twoWorkers],
  ...[tlsTiny, tlsHandshakes, resumption, tlsDownload, http2Tiny, grpcUnary, webSocket],
  ...[limiterHot, limiterCrowd, refused, halfLoad, idleConnections, idleTunnels, reloads, slowPeers, rest],
];
