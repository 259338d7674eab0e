/** Every scenario of `make bench-peers`, in the order of the report. */
import { accessLog } from './access-log.ts';
import { download } from './download.ts';
import { halfLoad } from './half-load.ts';
import { idleConnections } from './idle-connections.ts';
import { limiterCrowd, limiterHot } from './limiter.ts';
import type { Matchup } from './matchup.ts';
import { newConnection } from './new-connection.ts';
import { post } from './post.ts';
import { refused } from './refused.ts';
import { rest } from './rest.ts';
import { slowPeers } from './slow-peers.ts';
import { tenKib } from './ten-kib.ts';
import { tiny } from './tiny.ts';
import { twoWorkers } from './two-workers.ts';
import { upload } from './upload.ts';

export const MATCHUPS: readonly Matchup[] = [
  ...[tiny, accessLog, tenKib, post, download, upload, newConnection, twoWorkers],
  ...[limiterHot, limiterCrowd, refused, halfLoad, idleConnections, slowPeers, rest],
];
