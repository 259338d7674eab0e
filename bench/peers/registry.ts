/** All peers, Sluice first. */
import { caddy } from './caddy.ts';
import { haproxy } from './haproxy.ts';
import { nginx, nginxLua, nginxLuaOurs } from './nginx.ts';
import { fastifyProxy, nodeHttp, nodeHttp2, nodeProxies } from './node-peers.ts';
import type { Peer } from './peer.ts';
import { sluice, sluiceBefore, sluiceBuilt, sluiceNode, sluiceSocket } from './sluice.ts';

export const PEERS: readonly Peer[] = [
  ...[sluice, sluiceSocket, sluiceNode, sluiceBuilt, sluiceBefore],
  ...[nginx, haproxy, caddy, nginxLua, nginxLuaOurs, ...nodeProxies, fastifyProxy, nodeHttp, nodeHttp2],
];

/** peerNamed throws if no peer has the name. */
export function peerNamed(name: string): Peer {
  const peer = PEERS.find((each) => each.name === name);
  if (peer === undefined)
    throw new Error(`no peer ${name}; there is ${PEERS.map((each) => each.name).join(', ')}`);
  return peer;
}
