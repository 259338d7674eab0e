/** How workers serve their clients and reach their backends: decided by the primary, the same for all of its workers. */

/** wire: our own HTTP/1.1; node: raw node:http. */
export const ENGINES = ['wire', 'node'] as const;
export type EngineName = (typeof ENGINES)[number];

/** handle: on the handle inside a socket; socket: on node's documented API. */
export const WIRES = ['handle', 'socket'] as const;
export type WireName = (typeof WIRES)[number];

export interface DataPath {
  engine: EngineName;
  wire: WireName;
}
